"""This file has densities and KL divergences of diagonal Gaussians, and distributions that are mixtures of them."""

import math

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

LOG_2PI = math.log(2 * math.pi)


def gaussian_log_prob(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Return the log-density of diagonal Gaussians, summed over the last axis; shapes broadcast.

    The squared distances are not expanded into a matrix product, since variances can be as small as exp(-6), where the
    expansion would cancel in float32.
    """
    standardised = (z - mean) * (-0.5 * log_var).exp()
    return -0.5 * (standardised.square().sum(-1) + log_var.sum(-1) + z.shape[-1] * LOG_2PI)


def log_mixture(log_components: Tensor) -> Tensor:
    """Return log 1/K sum_j q_j of (K, ...) as (...)."""
    return log_components.logsumexp(0) - math.log(len(log_components))


def gaussian_kl(mean: Tensor, log_var: Tensor, prior_mean: Tensor, prior_log_var: Tensor) -> Tensor:
    """Return KL(N(mean, exp log_var) || N(prior_mean, exp prior_log_var)), summed over the last axis; shapes broadcast."""
    log_ratio = log_var - prior_log_var
    return 0.5 * (log_ratio.exp() + (mean - prior_mean).square() * (-prior_log_var).exp() - log_ratio - 1).sum(-1)


def _factors(squares: Tensor, z: Tensor, mean: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """Return (..., N, 2Z) and (..., 2Z, C) with the matrix product sum_i z_i^2 / s_i^2 - 2 z_i mu_i / s_i^2.

    It gives the squared distances of N points to C Gaussians by one product, without an (N, C, Z) array. Coordinates must be
    centred first; the error by cancellation is then some 1e-3 in float32.

    Arguments:
        squares, z: (..., N, Z) each, z^2 (or its expectation) and z.
        mean, precision: (..., C, Z) each, mu and 1/s^2.
    """
    return torch.cat((squares, z), dim=-1), torch.cat((precision, -2 * precision * mean), dim=-1).mT


def gaussian_kl_to_each(mean: Tensor, log_var: Tensor, prior_mean: Tensor, prior_log_var: Tensor) -> Tensor:
    """Return `gaussian_kl` from each of B Gaussians (B, Z) to each of C priors (C, Z) as (B, C), by one matrix product.

    This makes a training step with 500 categories several times faster. It is exact enough for training only, see `_factors`.
    """
    centre = prior_mean.detach().mean(0)
    mean, prior_mean, precision = mean - centre, prior_mean - centre, (-prior_log_var).exp()
    points, priors = _factors(log_var.exp() + mean.square(), mean, prior_mean, precision)
    constant = (prior_mean.square() * precision + prior_log_var).sum(-1)
    return 0.5 * (torch.addmm(constant, points, priors) - log_var.sum(-1, keepdim=True) - mean.shape[-1])


def mixture_log_prob(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Return log 1/C sum_c N(z; mu_c, s_c^2) for J mixtures at once: (J, N) from z (J, N, Z), mean and log_var (J, C, Z)."""
    centre = mean.detach().mean(1, keepdim=True)
    z, mean, precision = z - centre, mean - centre, (-log_var).exp()
    constant = (mean.square() * precision + log_var).sum(-1) + z.shape[-1] * LOG_2PI
    log_components = -0.5 * torch.baddbmm(constant[:, None], *_factors(z.square(), z, mean, precision))
    return log_components.logsumexp(-1) - math.log(mean.shape[1])


class DiagonalMixture(Distribution):
    """The equally weighted mixture of C diagonal Gaussians, the same for all points.

    The density is computed in `dtype`. Float32 is enough for a gradient; an evaluation asks for float64, in which the error by
    cancellation in the matrix product is far below the standard error.

    Arguments:
        mean, log_var: (C, Z) each.
        dtype: The precision of the density; float64 for anything that is reported.
    """

    def __init__(self, mean: Tensor, log_var: Tensor, dtype: torch.dtype) -> None:
        self.loc = mean.to(dtype)
        self.log_var = log_var.to(dtype)
        super().__init__(event_shape=mean.shape[-1:], validate_args=False)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) of (..., Z) as (...)."""
        flat = z.to(self.loc.dtype).reshape(1, -1, z.shape[-1])
        return mixture_log_prob(flat, self.loc[None], self.log_var[None]).view(z.shape[:-1])

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample_shape, Z)."""
        return self.sample_components(torch.randint(len(self.loc), sample_shape, device=self.loc.device))

    def sample_components(self, chosen: Tensor) -> Tensor:
        """Draw one sample for each index of a component in `chosen`, (*chosen.shape, Z)."""
        return self.loc[chosen] + (0.5 * self.log_var[chosen]).exp() * torch.randn_like(self.loc[chosen])


class FlowedMixture(Distribution):
    """The equally weighted mixture of K components, each of M diagonal Gaussians behind the component's own flow.

    Arguments:
        mean, log_var: (K, M, Z) each, of z_0.
        flows: K flows, see `mixvae.distributions.flows`.
        dtype: The precision of the Gaussians' density.
    """

    def __init__(self, mean: Tensor, log_var: Tensor, flows: nn.Module, dtype: torch.dtype) -> None:
        self.loc, self.log_var, self.flows, self.dtype = mean, log_var, flows, dtype
        super().__init__(event_shape=mean.shape[-1:], validate_args=False)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) of (..., Z) as (...)."""
        K, _, Z = self.loc.shape
        base, log_det = self.flows.inverse(z.reshape(1, -1, Z).expand(K, -1, -1))
        log_base = mixture_log_prob(base.to(self.dtype), self.loc.to(self.dtype), self.log_var.to(self.dtype))
        return log_mixture(log_base - log_det).view(z.shape[:-1])

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample_shape, Z): every sample is drawn through each of the K flows, and one of these K draws is kept."""
        K, M, Z = self.loc.shape
        n = math.prod(sample_shape)
        chosen = torch.randint(M, (n,), device=self.loc.device)
        base = self.loc[:, chosen] + (0.5 * self.log_var[:, chosen]).exp() * torch.randn_like(self.loc[:, chosen])
        z = self.flows.push(base[None]).z[0].to(self.loc.dtype)
        return z[torch.randint(K, (n,), device=z.device), torch.arange(n, device=z.device)].view(*sample_shape, Z)
