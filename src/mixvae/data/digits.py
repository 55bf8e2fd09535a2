"""This data set has scikit-learn's 8x8 handwritten digits."""

from pathlib import Path

import numpy as np

from mixvae.data.arrays import Arrays


def load(raw: Path) -> Arrays:
    """Read the CSV, which has 64 pixels from 0 to 16 and a label per row."""
    table = np.loadtxt(raw / "digits.csv.gz", delimiter=",", dtype=np.uint8)
    return Arrays(table[:, :64].reshape(-1, 1, 8, 8), table[:, 64].astype(np.int64), [str(digit) for digit in range(10)])
