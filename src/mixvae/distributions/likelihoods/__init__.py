"""Likelihoods p(x | h): each module turns a decoder's output into a torch distribution over x.

A likelihood also knows what belongs to its kind of data: how x looks to an encoder, and how a VampPrior's pseudo-inputs
stay inside that space.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from mixvae.distributions.likelihoods.counts import (
    NegativeBinomial,
    NegativeBinomialCounts,
    ZeroInflated,
    ZeroInflatedNegativeBinomial,
)
from mixvae.distributions.likelihoods.gaussian import Gaussian
from mixvae.distributions.likelihoods.images import Bernoulli
from mixvae.distributions.likelihoods.logistics import Logistics
from mixvae.study import parts

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "Gaussian",
    "Logistics",
    "NegativeBinomial",
    "NegativeBinomialCounts",
    "ZeroInflated",
    "ZeroInflatedNegativeBinomial",
    "likelihood",
]

LIKELIHOODS = {"bernoulli": Bernoulli, "nb": NegativeBinomial, "zinb": ZeroInflatedNegativeBinomial}


def likelihood(settings: parts.Likelihood, shape: Sequence[int]) -> nn.Module:
    """Return the likelihood that `settings` names for points of this shape."""
    if settings.name == "gaussian":
        return Gaussian(shape, settings.std)
    if settings.name == "logistics":
        return Logistics(shape, settings.mixtures)
    return LIKELIHOODS[settings.name](math.prod(shape))
