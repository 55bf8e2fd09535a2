"""This folder has likelihoods p(x | h): modules that turn a decoder's output h into a torch distribution over x.

A likelihood also maps x to an encoder's input, keeps a VampPrior's pseudo-inputs inside that space, and finds the one output
that fits all points best, which is the control.
"""

from collections.abc import Sequence

from torch import nn

from mixvae import own
from mixvae.distributions.likelihoods.counts import NegativeBinomial, ZeroInflatedNegativeBinomial
from mixvae.distributions.likelihoods.gaussian import Gaussian
from mixvae.distributions.likelihoods.images import Bernoulli
from mixvae.distributions.likelihoods.logistics import Logistics
from mixvae.study import parts

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
    built, settings = own.choose(LIKELIHOODS, settings)
    return built(shape, **settings.arguments())
