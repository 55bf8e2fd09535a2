"""This file has the control that every model must beat: a distribution of x that is the same for every point."""

import torch
from torch import Tensor, nn

from mixvae.distributions.likelihoods import likelihood
from mixvae.models.objectives import LogTerms
from mixvae.study import Constant as Spec

LEVELS = 256


class Histogram(nn.Module):
    """The histogram of the 8-bit levels of every number of x (N, D), multiples of 1/255, smoothed by Laplace's rule."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        counts = torch.ones(x.shape[1], LEVELS).scatter_add_(1, self._levels(x).T, torch.ones(x.T.shape))
        self.log_share = nn.Parameter((counts / counts.sum(1, keepdim=True)).log())

    @staticmethod
    def _levels(x: Tensor) -> Tensor:
        return (x * (LEVELS - 1)).round().long()

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) of (B, D) as (B,)."""
        return self.log_share.gather(1, self._levels(x).T).sum(0)


class Constant(nn.Module):
    """A decoder output h that is the same for every point, fitted in closed form.

    The likelihood finds the best h: each pixel's share of being on, each dimension's mean under a Gaussian, or each gene's
    share of the library under a negative binomial. For a mixture of logistics the control is a histogram of levels.

    The arguments are those of the contract.
    """

    sampled_components, noise_size = 1, 0

    def __init__(self, spec: Spec, x: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.width = x.shape[1]
        if spec.likelihood.has_constant:
            self.likelihood = likelihood(spec.likelihood, shape)
            self.h = nn.Parameter(self.likelihood.constant(x))
        else:
            self.histogram = Histogram(x)

    def posterior(self, x: Tensor) -> None:
        """Return None: there is no latent variable."""

    def prior_distribution(self, dtype: torch.dtype = torch.float32) -> None:
        """Return None: there is no latent variable."""

    def log_terms(self, x: Tensor, posterior: None, prior: None, noise: Tensor) -> LogTerms:
        """Return log p(x) of (B, D) as the likelihood term, (1, 1, B), and zeros for the other terms."""
        if hasattr(self, "histogram"):
            log_likelihood = self.histogram.log_prob(x)[None, None]
        else:
            log_likelihood = self.likelihood(self.h.expand(1, 1, *x.shape), x).log_prob(x)
        zeros = torch.zeros_like(log_likelihood)
        return LogTerms(log_likelihood, zeros, zeros, zeros)
