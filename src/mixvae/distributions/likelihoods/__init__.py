"""Each likelihood p(x | h) is a module that turns a decoder's output into a torch distribution over x.

A likelihood also knows what belongs to its kind of data: how x looks to an encoder, how a VampPrior's pseudo-inputs stay inside
that space, and which one output fits all points best, which makes the control.
"""

from __future__ import annotations

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

LIKELIHOODS = {
    parts.Bernoulli: Bernoulli,
    parts.NegativeBinomial: NegativeBinomial,
    parts.ZeroInflatedNegativeBinomial: ZeroInflatedNegativeBinomial,
    parts.Gaussian: Gaussian,
    parts.Logistics: Logistics,
}
"""Every likelihood by the class of its settings."""


def likelihood(settings: parts.Likelihood, shape: Sequence[int]) -> nn.Module:
    """Return the likelihood that `settings` describes for points of this shape."""
    return LIKELIHOODS[type(settings)](shape, **settings.arguments())
