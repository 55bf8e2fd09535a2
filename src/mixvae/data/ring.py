"""This data set has exact draws from the ring p(z) ∝ exp(-(|z| - 0.9)^2 / 0.001) in two dimensions (Kviman et al., 2023)."""

from pathlib import Path

import numpy as np

from mixvae.data.arrays import Arrays, consecutive

SEED = 777
SIZES = (10_000, 1_000, 1_000)
RADIUS = 0.9
VARIANCE = 0.0005
BOUND = 1.3  # 18 standard deviations above the mean radius: no normal draw in double precision gets there


def load(raw: Path) -> Arrays:
    """Draw by rejection: the radius has density ∝ r N(r; 0.9, 0.0005), the angle is uniform. There are no raw files."""
    stream, n = np.random.RandomState(SEED), sum(SIZES)  # unlike numpy's newer generators its stream is frozen for ever
    proposed = RADIUS + np.sqrt(VARIANCE) * stream.standard_normal(2 * n)  # two in three are accepted
    radius = proposed[BOUND * stream.random_sample(2 * n) < proposed][:n]
    angle = 2 * np.pi * stream.random_sample(n)
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return Arrays(x.astype(np.float32), np.zeros(n, dtype=np.int64), ["ring"], parts=consecutive(*SIZES))
