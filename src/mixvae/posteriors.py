"""Posteriors over z given x: what an encoder's output means."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor
from torch.distributions import Transform

LOG_2PI = math.log(2 * math.pi)
LOG_VAR_RANGE = (-6, 2)
"""Log-variances are clipped to it, as in the paper."""


class Draw(NamedTuple):
    """Samples of every component and their log-densities.

    z: (L, K, B, Z), where z[:, k] was drawn from component k.
    log_mixture: (L, K, B), log q(z | x) of the whole mixture.
    log_component: (L, K, B), log q_k(z_k | x) of the component that drew it.
    """

    z: Tensor
    log_mixture: Tensor
    log_component: Tensor


class GaussianMixture:
    r"""The equally weighted mixture of K diagonal Gaussians, q(z|x) = 1/K sum_k q_k(z|x) (Kviman et al., 2023).

    Arguments:
        mean: (K, B, Z).
        log_var: (K, B, Z), clipped to LOG_VAR_RANGE.
    """

    def __init__(self, mean: Tensor, log_var: Tensor) -> None:
        self.mean = mean
        self.log_var = log_var.clamp(*LOG_VAR_RANGE)
        self.std = (0.5 * self.log_var).exp()

    def log_prob_components(self, z: Tensor) -> Tensor:
        """Return log q_j(z | x) of (..., B, Z) under every component as (J, ..., B).

        The squared distances are taken as they stand, not expanded into a matrix product: the components' variances
        reach down to exp(-6), where the expansion would cancel in float32.
        """
        shape = (len(self.mean), *(1,) * (z.dim() - 2), *self.mean.shape[1:])
        mean, std, log_var = (parameter.view(shape) for parameter in (self.mean, self.std, self.log_var))
        return -0.5 * (((z - mean) / std).square().sum(-1) + log_var.sum(-1) + z.shape[-1] * LOG_2PI)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the mixture's log-density of (..., B, Z) as (..., B)."""
        return self.log_prob_components(z).logsumexp(0) - math.log(len(self.mean))

    def draw(self, noise: Tensor) -> Draw:
        """Turn standard normal noise (L, K, B, Z) into samples of every component with their densities."""
        z = self.mean + self.std * noise
        log_components = self.log_prob_components(z)
        log_mixture = log_components.logsumexp(0) - math.log(len(self.mean))
        # entry (j, l, k, b) with j = k
        return Draw(z, log_mixture, log_components.diagonal(dim1=0, dim2=2).movedim(-1, 1))

    def expectation(self, noise: Tensor) -> Tensor:
        """Return E_q[z | x] as (B, Z), exactly; `noise` is not needed."""
        return self.mean.mean(0)


class FlowedMixture:
    """A Gaussian mixture pushed through one flow shared by all components, exact without inverting the flow.

    log q(z_T | x) = log q(z_0 | x) - log|det dz_T/dz_0|, for the mixture and for each component alike.

    Arguments:
        base: The mixture of z_0.
        transform: z_0 -> z_T.
    """

    def __init__(self, base: GaussianMixture, transform: Transform) -> None:
        self.base = base
        self.transform = transform

    def draw(self, noise: Tensor) -> Draw:
        """Turn standard normal noise (L, K, B, Z) into samples of every component with their densities."""
        base = self.base.draw(noise)
        z, log_det = self.transform.call_and_ladj(base.z)
        return Draw(z, base.log_mixture - log_det, base.log_component - log_det)

    def expectation(self, noise: Tensor) -> Tensor:
        """Return a Monte Carlo estimate of E_q[z | x] as (B, Z) from noise (L, K, B, Z)."""
        return self.draw(noise).z.mean((0, 1))
