"""This file estimates log p(x) by adaptive importance sampling, a check of annealing for few dimensions (Cornuet et al., 2012).

Samples of the posterior and of a Student-t are weighted, and the Student-t is fitted to them again in every round. Then it is
frozen, and p(x) is estimated from fresh samples alone: the samples that it was fitted to would make the estimate too large.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mixvae.distributions.gaussians import LOG_2PI
from mixvae.models.bridge import Bridge

MOST_DIMENSIONS = 20
"""With more dimensions than this, a fitted covariance is too far from the truth, and the weights are as heavy as before."""
ROUNDS, PER_ROUND, FRESH = 3, 400, 1000
"""How often the proposal is fitted, to how many samples, and how many samples the estimate consists of."""
SHARE_OF_POSTERIOR = 0.2
"""The share of samples from the posterior, which keeps the weights bounded wherever the posterior's own would be."""
DEGREES = 5
"""Degrees of freedom of the Student-t."""
LEAST_ESS = 0.2
"""Weights are flattened by an exponent until their effective sample size is this share of the samples, before a fit."""
EXPONENTS = tuple(0.7**power for power in range(25))
RIDGE = 1e-6

Noise = Callable[[int, int], Tensor]


class _StudentT:
    """Multivariate Student-t distributions of B points, with `DEGREES` degrees of freedom.

    Arguments:
        mean: (B, U); covariance: (B, U, U), of the scale matrix; both in float64.
    """

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        ridge = RIDGE * covariance.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
        self.mean = mean
        self.factor = torch.linalg.cholesky(
            covariance + ridge * torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
        )

    def draw(self, noise: Tensor) -> Tensor:
        """Turn standard normal noise (C, B, U + DEGREES) into samples (C, B, U)."""
        normal, of_chi_square = noise.double().split((self.mean.shape[-1], DEGREES), dim=-1)
        width = (DEGREES / of_chi_square.square().sum(-1, keepdim=True)).sqrt()
        return self.mean + width * torch.einsum("bij,cbj->cbi", self.factor, normal)

    def log_prob(self, u: Tensor) -> Tensor:
        """Return the log-density of u (C, B, U), (C, B)."""
        U = u.shape[-1]
        centred = (u.double() - self.mean).permute(1, 2, 0)
        square = torch.linalg.solve_triangular(self.factor, centred, upper=False).square().sum(1).T
        log_det = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = (
            math.lgamma((DEGREES + U) / 2) - math.lgamma(DEGREES / 2) - U / 2 * (LOG_2PI - math.log(2) + math.log(DEGREES))
        )
        return constant - log_det - (DEGREES + U) / 2 * (square / DEGREES).log1p()


def adapted(bridge: Bridge, noise: Noise, noise_size: int) -> Tensor:
    """Return the log-weights of fresh samples of the adapted proposal, (FRESH, B) in float64; their mean estimates p(x).

    Arguments:
        noise: Returns normal numbers (C, B, n) for C and n.
    """
    u = bridge.start(noise(PER_ROUND, noise_size + 1))
    proposal = _fitted(u.double(), bridge.log_joint(u) - bridge.log_base(u))
    for _ in range(ROUNDS - 1):
        proposal = _fitted(*_weighted(bridge, proposal, noise, noise_size, PER_ROUND))
    return _weighted(bridge, proposal, noise, noise_size, FRESH)[1]


def _weighted(bridge: Bridge, proposal: _StudentT, noise: Noise, noise_size: int, number: int) -> tuple[Tensor, Tensor]:
    """Return samples of posterior and proposal, (number, B, U), and their log-weights under the mixture of both, (number, B)."""
    of_posterior = round(SHARE_OF_POSTERIOR * number)
    drawn = bridge.start(noise(of_posterior, noise_size + 1))
    proposed = proposal.draw(noise(number - of_posterior, drawn.shape[-1] + DEGREES))
    u = torch.cat((drawn, proposed.to(drawn.dtype)))
    share = of_posterior / number
    log_proposal = torch.logaddexp(bridge.log_base(u) + math.log(share), proposal.log_prob(u) + math.log1p(-share))
    return u.double(), (bridge.log_joint(u) - log_proposal).nan_to_num(-math.inf, math.inf, -math.inf)


def _fitted(u: Tensor, log_weights: Tensor) -> _StudentT:
    """Return the Student-t with the mean and the covariance of weighted samples (C, B, U), weights (C, B)."""
    tried = torch.tensor(EXPONENTS, dtype=u.dtype, device=u.device)[:, None, None] * log_weights
    shares = tried.softmax(1)
    enough = 1 / shares.square().sum(1) >= LEAST_ESS * len(u)
    # the first exponent, hence the largest, that leaves enough samples; the last if none does
    chosen = torch.where(enough.any(0), enough.int().argmax(0), len(EXPONENTS) - 1)
    share = shares[chosen, :, torch.arange(u.shape[1], device=u.device)].T
    mean = torch.einsum("cb,cbu->bu", share, u)
    centred = u - mean
    return _StudentT(mean, torch.einsum("cb,cbu,cbv->buv", share, centred, centred))
