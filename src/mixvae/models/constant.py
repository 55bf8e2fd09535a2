"""The control every model must beat: a distribution of x that knows nothing about the individual point."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mixvae.distributions.likelihoods import likelihood
from mixvae.models.objectives import LogTerms
from mixvae.study import Constant as Spec

THETA_GRID = torch.linspace(-6, 8, 141)
"""Log inverse dispersions tried for every gene."""
LEVELS = 256


class Histogram(nn.Module):
    """The marginal distribution of every 8-bit colour level of every pixel, with Laplace's rule.

    Arguments:
        x: (N, D) training points, multiples of 1/255 in [0, 1].
    """

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

    Marginal Bernoulli per pixel; the mean per dimension under a Gaussian; negative binomial with mean library x gene share;
    for a mixture of logistics the histogram of every colour level.

    Arguments:
        spec: Which likelihood.
        x: (N, D) training points; pixels may be grey values in [0, 1].
        shape: The shape of a point, of D numbers in all.
    """

    K, noise_size = 1, 0

    def __init__(self, spec: Spec, x: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.width = x.shape[1]
        if spec.likelihood.name == "logistics":
            self.histogram = Histogram(x)
            return
        self.likelihood = likelihood(spec.likelihood, shape)
        match spec.likelihood.name:
            case "bernoulli":
                # Laplace's rule: a pixel never seen on is unlikely, not impossible
                h = ((x.sum(0) + 1) / (len(x) + 2)).logit()
            case "gaussian":
                h = x.mean(0)
            case "nb":
                h = ((x.sum(0) + 1) / (x.sum() + x.shape[1])).log()
        self.h = nn.Parameter(h)
        if spec.likelihood.name == "nb":
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
        if hasattr(self, "histogram"):
            log_likelihood = self.histogram.log_prob(x)[None, None]
        else:
            log_likelihood = self.likelihood(self.h.expand(1, 1, *x.shape), x).log_prob(x)
        zeros = torch.zeros_like(log_likelihood)
        return LogTerms(log_likelihood, zeros, zeros, zeros)
