"""Priors: each module builds a distribution p(z) when it is called, from its own parameters or the encoder's."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from mixvae.distributions.flows import ComponentFlows
from mixvae.distributions.posteriors import LOG_2PI, GaussianMixture, clip, log_mixture

Encoder = Callable[[Tensor], GaussianMixture]


def _mixture_log_prob(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Return log 1/C sum_c N(z; mu_c, s_c^2) for J mixtures at once: (J, N) from z (J, N, Z), mean and log_var (J, C, Z).

    The squared distances to all C components come from one matrix product, of [z^2, z] with [1/s^2, -2 mu/s^2]:
    (N, 2Z) x (2Z, C) instead of an (N, C, Z) array. Coordinates are centred first.
    """
    centre = mean.detach().mean(1, keepdim=True)
    z, mean, precision = z - centre, mean - centre, (-log_var).exp()
    constant = (mean.square() * precision + log_var).sum(-1) + z.shape[-1] * LOG_2PI
    features = torch.cat((z.square(), z), dim=-1)
    weights = torch.cat((precision, -2 * precision * mean), dim=-1)
    log_components = -0.5 * torch.baddbmm(constant[:, None], features, weights.mT)
    return log_components.logsumexp(-1) - math.log(mean.shape[1])


class DiagonalMixture(Distribution):
    """The equally weighted mixture of C diagonal Gaussians with one density for all points.

    The density is computed in `dtype`: float32 is enough for a gradient, while an evaluation asks for float64, where the
    cancellation of the matrix product in it is far below its standard error.

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
        flat = z.to(self.loc.dtype).reshape(1, -1, z.shape[-1])
        return _mixture_log_prob(flat, self.loc[None], self.log_var[None]).view(z.shape[:-1])

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample_shape, Z)."""
        chosen = torch.randint(len(self.loc), sample_shape, device=self.loc.device)
        return self.loc[chosen] + (0.5 * self.log_var[chosen]).exp() * torch.randn_like(self.loc[chosen])


class FlowedMixture(Distribution):
    """1/K sum_k of the mixture of M Gaussians of component k behind the component's own flow.

    Arguments:
        mean, log_var: (K, M, Z), of z_0.
        flows: K flows with an inverse each.
        dtype: The precision of the Gaussians' density.
    """

    def __init__(self, mean: Tensor, log_var: Tensor, flows: ComponentFlows, dtype: torch.dtype) -> None:
        self.loc, self.log_var, self.flows, self.dtype = mean, log_var, flows, dtype
        super().__init__(event_shape=mean.shape[-1:], validate_args=False)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) of (..., Z) as (...)."""
        K, _, Z = self.loc.shape
        base, log_det = self.flows.inverse(z.reshape(1, -1, Z).expand(K, -1, -1))
        log_base = _mixture_log_prob(base.to(self.dtype), self.loc.to(self.dtype), self.log_var.to(self.dtype))
        return log_mixture(log_base - log_det).view(z.shape[:-1])

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample_shape, Z): a Gaussian of every component through its flow, and one of the K per sample."""
        K, M, Z = self.loc.shape
        n = math.prod(sample_shape)
        chosen = torch.randint(M, (n,), device=self.loc.device)
        base = self.loc[:, chosen] + (0.5 * self.log_var[:, chosen]).exp() * torch.randn_like(self.loc[:, chosen])
        z = self.flows.push(base[None]).z[0].to(self.loc.dtype)
        return z[torch.randint(K, (n,), device=z.device), torch.arange(n, device=z.device)].view(*sample_shape, Z)


class StandardNormal(Independent):
    """N(0, I) over (Z,).

    The density of torch's own, in four small operations instead of nine.

    Arguments:
        zeros: (Z,), of the density's precision.
    """

    def __init__(self, zeros: Tensor) -> None:
        super().__init__(Normal(zeros, torch.ones_like(zeros), validate_args=False), 1, validate_args=False)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) of (..., Z) as (...)."""
        z = z.to(torch.promote_types(z.dtype, self.base_dist.loc.dtype))
        return -0.5 * (z.square().sum(-1) + z.shape[-1] * LOG_2PI)


class StandardPrior(nn.Module):
    """N(0, I)."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.components = 1
        self.register_buffer("zeros", torch.zeros(latent), persistent=False)

    def forward(self, encoder: Encoder, dtype: torch.dtype) -> Distribution:
        """Return p(z) over (Z,)."""
        return StandardNormal(self.zeros.to(dtype))


class MixturePrior(nn.Module):
    """A learnt mixture of diagonal Gaussians, p(z) = 1/M sum_m N(mu_m, diag s_m^2), log-variances clipped like the posterior's.

    Arguments:
        latent: The dimension Z.
        components: M.
        spread: Standard deviation of the means at the start.
    """

    def __init__(self, latent: int, components: int, spread: float = 1.0) -> None:
        super().__init__()
        self.components = components
        self.mean = nn.Parameter(spread * torch.randn(components, latent))
        self.log_var = nn.Parameter(torch.zeros(components, latent))

    def forward(self, encoder: Encoder, dtype: torch.dtype) -> Distribution:
        """Return p(z) over (Z,)."""
        return DiagonalMixture(self.mean, clip(self.log_var), dtype)


class VampPrior(nn.Module):
    r"""The aggregate posterior of M learnt pseudo-inputs (Tomczak & Welling, 2018), through all K encoders.

    p(z) = 1/(M K) sum_m sum_k q_k(z | u_m). Under a flow that the components share, the prior's components stay the
    *base* Gaussians, evaluated at z_T: a prior made of flowed pseudo-posteriors would have the flow's determinant
    cancel against the posterior's, which leaves the plain VampPrior model without a flow. Under a flow per component
    nothing cancels between different components, and the pseudo-posteriors are the flowed ones.

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
        return self.of(encoder(self.constrain(self.free)), dtype)

    @staticmethod
    def of(q: GaussianMixture, dtype: torch.dtype) -> Distribution:
        """Return the aggregate of the posteriors q of pseudo-inputs, over (Z,)."""
        if isinstance(q.flow, ComponentFlows):
            return FlowedMixture(q.mean, q.log_var, q.flow, dtype)
        return DiagonalMixture(q.mean.flatten(0, 1), q.log_var.flatten(0, 1), dtype)


def build(settings, latent: int, inputs: Callable[[int], Tensor], likelihood: nn.Module) -> nn.Module:
    """Return the prior that a run's `prior` describes.

    Arguments:
        latent: The dimension Z.
        inputs: Gives at most so many training points, (M, D) in the encoder's input space.
        likelihood: Knows the encoder's input space.
    """
    match settings.name:
        case "standard":
            return StandardPrior(latent)
        case "mog":
            return MixturePrior(latent, settings.components)
        case "vamp":
            return VampPrior(inputs(settings.components), likelihood.constrain, likelihood.unconstrain)
