"""This data set has draws from 0.5 N(0.3, 0.05^2) + 0.5 N(0.7, 0.05^2), the 1-d example of CP-VAE (Lavda et al.)."""

from pathlib import Path

import numpy as np

from mixvae.data.arrays import Arrays, consecutive

SEED = 777
SIZES = (50_000, 5_000, 5_000)
MEANS = np.array([0.3, 0.7])
STD = 0.05


def load(raw: Path) -> Arrays:
    """Draw the points; the label is the component they come from. There are no raw files."""
    stream = np.random.RandomState(SEED)  # unlike numpy's newer generators its stream is frozen for ever
    y = stream.binomial(1, 0.5, sum(SIZES)).astype(np.int64)
    x = MEANS[y] + STD * stream.standard_normal(sum(SIZES))
    return Arrays(x[:, None].astype(np.float32), y, ["mean 0.3", "mean 0.7"], parts=consecutive(*SIZES))
