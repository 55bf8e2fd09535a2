"""This file has the normalised two-dimensional densities to which a posterior can be fitted (Kviman et al., 2023)."""

import math
from functools import cache

import torch
from torch import Tensor

from mixvae.data.bivariate import MEANS, STD, WEIGHTS
from mixvae.data.ring import RADIUS, VARIANCE

SHARPNESS = 2 * VARIANCE


def ring(z: Tensor) -> Tensor:
    """Return log p(z) = -(|z| - 0.9)^2 / 0.001 - log Z of z (..., 2) as (...)."""
    return -(torch.linalg.vector_norm(z, dim=-1) - RADIUS).square() / SHARPNESS - _ring_log_normaliser()


@cache
def _ring_log_normaliser() -> float:
    from scipy.integrate import quad

    width = 20 * math.sqrt(SHARPNESS)  # at this distance the density is exp(-400) of its peak
    return math.log(
        quad(lambda r: 2 * math.pi * r * math.exp(-((r - RADIUS) ** 2) / SHARPNESS), RADIUS - width, RADIUS + width)[0]
    )


def bivariate(z: Tensor) -> Tensor:
    """Return the log-density of 0.2 N((-1, -1), 0.5^2 I) + 0.8 N((1, 1), 0.5^2 I) at (..., 2) as (...)."""
    parts = [math.log(weight) - (z - mean).square().sum(-1) / (2 * STD**2) for weight, mean in zip(WEIGHTS, MEANS, strict=True)]
    return torch.logaddexp(*parts) - math.log(2 * math.pi * STD**2)


TARGETS = {"ring": ring, "bivariate": bivariate}
"""Each log-density by the name of the data set of its draws."""
