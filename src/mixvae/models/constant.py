"""The control every model must beat: a distribution of x that knows nothing about the individual point."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mixvae.likelihoods import LIKELIHOODS
from mixvae.objectives import LogTerms
from mixvae.spec import Constant as Spec

THETA_GRID = torch.linspace(-6, 8, 141)
"""Log inverse dispersions tried for every gene."""


class Constant(nn.Module):
    """Marginal Bernoulli per pixel, or negative binomial with mean library x gene share, fitted in closed form.

    Arguments:
        spec: Which likelihood.
        x: (N, D) training points; pixels may be grey values in [0, 1].
    """

    K, noise_size = 1, 0

    def __init__(self, spec: Spec, x: Tensor) -> None:
        super().__init__()
        self.likelihood = LIKELIHOODS[spec.likelihood](x.shape[1])
        self.width = x.shape[1]
        if spec.likelihood == "bernoulli":
            # Laplace's rule: a pixel never seen on is unlikely, not impossible
            h = ((x.sum(0) + 1) / (len(x) + 2)).logit()
        else:
            h = ((x.sum(0) + 1) / (x.sum() + x.shape[1])).log()
        self.h = nn.Parameter(h)
        if spec.likelihood != "bernoulli":
            self._fit_dispersion(x)

    @torch.no_grad()
    def _fit_dispersion(self, x: Tensor) -> None:
        """Take the most likely value of THETA_GRID for every gene."""
        scores = torch.stack([self._gene_log_likelihood(x, log_theta) for log_theta in THETA_GRID])
        self.likelihood.log_theta.copy_(THETA_GRID[scores.argmax(0)])

    def _gene_log_likelihood(self, x: Tensor, log_theta: Tensor) -> Tensor:
        self.likelihood.log_theta.fill_(log_theta)
        return self.likelihood.genes(self.h, x).log_prob(x).sum(0)

    def posterior(self, x: Tensor) -> None:
        """There is no latent variable."""

    def prior_distribution(self, dtype: torch.dtype = torch.float32) -> None:
        """There is no latent variable."""

    def log_terms(self, x: Tensor, posterior: None, prior: None, noise: Tensor) -> LogTerms:
        """Return log p(x) of (B, D) as the likelihood term, (1, 1, B), and zeros for the rest."""
        log_likelihood = self.likelihood(self.h.expand(1, 1, *x.shape), x).log_prob(x)
        zeros = torch.zeros_like(log_likelihood)
        return LogTerms(log_likelihood, zeros, zeros, zeros)
