"""This data set has exact draws from 0.2 N((-1, -1), 0.5^2 I) + 0.8 N((1, 1), 0.5^2 I) (Kviman et al., 2023)."""

from pathlib import Path

import numpy as np

from mixvae.data.arrays import Arrays, consecutive

SEED = 777
SIZES = (10_000, 1_000, 1_000)
MEANS, WEIGHTS = (-1.0, 1.0), (0.2, 0.8)
"""Each component's mean, which is the same in both coordinates, and its weight."""
STD = 0.5


def load(raw: Path) -> Arrays:
    """Draw the points; the label is the component they come from. There are no raw files."""
    stream, n = np.random.RandomState(SEED), sum(SIZES)  # unlike numpy's newer generators its stream is frozen for ever
    y = stream.binomial(1, WEIGHTS[1], n).astype(np.int64)
    x = np.array(MEANS)[y][:, None] + STD * stream.standard_normal((n, 2))
    return Arrays(x.astype(np.float32), y, ["mean (-1, -1)", "mean (1, 1)"], parts=consecutive(*SIZES))
