"""Each prior is a module that builds a distribution p(z) when it is called, from its own parameters or the encoder's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from mixvae.distributions.gaussians import LOG_2PI, DiagonalMixture
from mixvae.distributions.posteriors import GaussianMixture, clip
from mixvae.study import parts

Encoder = Callable[[Tensor], GaussianMixture]


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
        self.register_buffer("zeros", torch.zeros(latent), persistent=False)

    def gaussians(self, K: int) -> int:
        """Return how many Gaussians it consists of for K encoders."""
        return 1

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

    def gaussians(self, K: int) -> int:
        """Return how many Gaussians it consists of for K encoders: M."""
        return self.components

    def forward(self, encoder: Encoder | None, dtype: torch.dtype) -> DiagonalMixture:
        """Return p(z) over (Z,); the encoder is not needed."""
        return DiagonalMixture(self.mean, clip(self.log_var), dtype)

    def sample_component(self, encoder: Encoder | None, number: int, n: int) -> Tensor:
        """Draw n samples of one component, (n, Z)."""
        return self(None, torch.float32).sample_components(torch.full((n,), number, device=self.mean.device))


class VampPrior(nn.Module):
    r"""The aggregate posterior of M learnt pseudo-inputs (Tomczak & Welling, 2018), through all K encoders.

    p(z) = 1/(M K) sum_m sum_k q_k(z | u_m). The posterior's flow says how the pseudo-posteriors are aggregated.

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

    def gaussians(self, K: int) -> int:
        """Return how many Gaussians it consists of for K encoders: M K."""
        return self.components * K

    def forward(self, encoder: Encoder, dtype: torch.dtype) -> Distribution:
        """Return p(z) over (Z,)."""
        return self._aggregate(encoder, self.free, dtype)

    def sample_component(self, encoder: Encoder, number: int, n: int) -> Tensor:
        """Draw n samples of one pseudo-input's posterior, as it enters the prior, (n, Z)."""
        return self._aggregate(encoder, self.free[number : number + 1], torch.float32).sample((n,))

    def _aggregate(self, encoder: Encoder, free: Tensor, dtype: torch.dtype) -> Distribution:
        q = encoder(self.constrain(free))
        return q.flow.aggregate(q.mean, q.log_var, dtype)


PRIORS = {parts.StandardPrior: StandardPrior, parts.MixturePrior: MixturePrior, parts.VampPrior: VampPrior}
"""Every prior by the class of its settings."""


def build(settings: parts.Prior, latent: int, inputs: Callable[[int], Tensor], likelihood: nn.Module) -> nn.Module:
    """Return the prior that a run's `prior` describes.

    Arguments:
        latent: The dimension Z.
        inputs: Gives at most so many training points, (M, D) in the encoder's input space.
        likelihood: Knows the encoder's input space.
    """
    prior = PRIORS[type(settings)]
    if settings.pseudo_inputs:
        return prior(inputs(settings.components), likelihood.constrain, likelihood.unconstrain)
    return prior(latent, **settings.arguments())
