"""Priors: each module builds a distribution p(z) when it is called, from its own parameters or the encoder's."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from mixvae.posteriors import LOG_2PI, LOG_VAR_RANGE, GaussianMixture

Encoder = Callable[[Tensor], GaussianMixture]


class DiagonalMixture(Distribution):
    r"""The equally weighted mixture of C diagonal Gaussians with one density for all points.

    The squared distances to all C components come from one matrix product, of [z^2, z] with
    [1/s^2, -2 mu/s^2]: (N, 2Z) x (2Z, C) instead of an (N, C, Z) array. Coordinates are centred first, and the
    product is taken in `dtype`: float32 is enough for a gradient, while an evaluation asks for float64, where the
    cancellation is far below its standard error.

    Arguments:
        mean: (C, Z).
        log_var: (C, Z).
        dtype: The precision of the density; float64 for anything that is reported.
    """

    def __init__(self, mean: Tensor, log_var: Tensor, dtype: torch.dtype) -> None:
        self.loc = mean.to(dtype)
        self.log_var = log_var.to(dtype)
        super().__init__(event_shape=mean.shape[-1:], validate_args=False)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) of (..., Z) as (...)."""
        centre = self.loc.detach().mean(0)
        z, mean, precision = z.to(self.loc.dtype) - centre, self.loc - centre, (-self.log_var).exp()
        constant = (mean.square() * precision + self.log_var).sum(-1) + z.shape[-1] * LOG_2PI
        features = torch.cat((z.square(), z), dim=-1).flatten(0, -2)
        weights = torch.cat((precision, -2 * precision * mean), dim=-1)
        log_components = -0.5 * torch.addmm(constant, features, weights.T)
        return (log_components.logsumexp(-1) - math.log(len(mean))).view(z.shape[:-1])

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample_shape, Z)."""
        chosen = torch.randint(len(self.loc), sample_shape, device=self.loc.device)
        return self.loc[chosen] + (0.5 * self.log_var[chosen]).exp() * torch.randn_like(self.loc[chosen])


class StandardPrior(nn.Module):
    """N(0, I)."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.components = 1
        self.register_buffer("zeros", torch.zeros(latent), persistent=False)

    def forward(self, encoder: Encoder, dtype: torch.dtype) -> Distribution:
        """Return p(z) over (Z,)."""
        zeros = self.zeros.to(dtype)
        return Independent(Normal(zeros, torch.ones_like(zeros), validate_args=False), 1, validate_args=False)


class MixturePrior(nn.Module):
    """A learnt mixture of diagonal Gaussians, p(z) = 1/M sum_m N(mu_m, diag s_m^2), log-variances clipped like the posterior's.

    Arguments:
        latent: The dimension Z.
        components: M.
    """

    def __init__(self, latent: int, components: int) -> None:
        super().__init__()
        self.components = components
        self.mean = nn.Parameter(torch.randn(components, latent))
        self.log_var = nn.Parameter(torch.zeros(components, latent))

    def forward(self, encoder: Encoder, dtype: torch.dtype) -> Distribution:
        """Return p(z) over (Z,)."""
        return DiagonalMixture(self.mean, self.log_var.clamp(*LOG_VAR_RANGE), dtype)


class VampPrior(nn.Module):
    r"""The aggregate posterior of M learnt pseudo-inputs (Tomczak & Welling, 2018), through all K encoders.

    p(z) = 1/(M K) sum_m sum_k q_k(z | u_m). Under a flow that the components share, the prior's components stay the
    *base* Gaussians, evaluated at z_T: a prior made of flowed pseudo-posteriors would have the flow's determinant
    cancel against the posterior's, which leaves the plain VampPrior model without a flow.

    Arguments:
        inputs: (M, D) training points in the encoder's input space, from which the pseudo-inputs start.
        constrain: Maps free parameters into the encoder's input space, e.g. hardtanh to [0, 1] for images.
        unconstrain: Its inverse on `inputs`, staying where `constrain` has a gradient.
    """

    def __init__(self, inputs: Tensor, constrain: Callable[[Tensor], Tensor], unconstrain: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.components = len(inputs)
        self.free = nn.Parameter(unconstrain(inputs))
        self.constrain = constrain

    def forward(self, encoder: Encoder, dtype: torch.dtype) -> Distribution:
        """Return p(z) over (Z,)."""
        components = encoder(self.constrain(self.free))
        return DiagonalMixture(components.mean.flatten(0, 1), components.log_var.flatten(0, 1), dtype)
