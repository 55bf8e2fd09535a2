"""This file has priors: modules that return a distribution p(z), made from their own parameters or by the encoder."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from mixvae import own
from mixvae.distributions.gaussians import LOG_2PI, DiagonalMixture
from mixvae.distributions.posteriors import GaussianMixture, clip
from mixvae.study import parts

Encoder = Callable[[Tensor], GaussianMixture]


class StandardNormal(Independent):
    """N(0, I) over (Z,), with torch's density in four small operations instead of nine; `zeros` are of the density's dtype."""

    def __init__(self, zeros: Tensor) -> None:
        super().__init__(Normal(zeros, torch.ones_like(zeros), validate_args=False), 1, validate_args=False)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) of (..., Z) as (...)."""
        z = z.to(torch.promote_types(z.dtype, self.base_dist.loc.dtype))
        return -0.5 * (z.square().sum(-1) + z.shape[-1] * LOG_2PI)


class StandardPrior(nn.Module):
    """The prior N(0, I)."""

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
    """The learnt mixture 1/M sum_m N(mu_m, diag s_m^2); its log-variances are clipped like the posterior's.

    `spread` is the standard deviation of the means at the start.
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
        """Return p(z) over (Z,); the encoder is not used."""
        return DiagonalMixture(self.mean, clip(self.log_var), dtype)

    def sample_component(self, encoder: Encoder | None, number: int, n: int) -> Tensor:
        """Draw n samples of one component, (n, Z)."""
        return self(None, torch.float32).sample_components(torch.full((n,), number, device=self.mean.device))


class VampPrior(nn.Module):
    r"""The aggregate posterior of M learnt pseudo-inputs (Tomczak & Welling, 2018), through all K encoders.

    p(z) = 1/(M K) sum_m sum_k q_k(z | u_m). The posterior's flow decides how the q_k are aggregated, see `aggregate` of flows.

    Arguments:
        inputs: (M, D) training points in the encoder's input space, from which the pseudo-inputs start.
        constrain: Maps free parameters into the encoder's input space, e.g. hardtanh to [0, 1] for images.
        unconstrain: The inverse of `constrain`, moved off points where `constrain` has no gradient.
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
        """Draw n samples of the part of the prior that comes from pseudo-input `number`, (n, Z)."""
        return self._aggregate(encoder, self.free[number : number + 1], torch.float32).sample((n,))

    def _aggregate(self, encoder: Encoder, free: Tensor, dtype: torch.dtype) -> Distribution:
        q = encoder(self.constrain(free))
        return q.flow.aggregate(q.mean, q.log_var, dtype)


PRIORS = {parts.StandardPrior: StandardPrior, parts.MixturePrior: MixturePrior, parts.VampPrior: VampPrior}
"""Every prior by the class of its settings."""


def build(settings: parts.Prior, latent: int, inputs: Callable[[int], Tensor], likelihood: nn.Module) -> nn.Module:
    """Return the prior over (Z,) that `settings` describes.

    Arguments:
        inputs: A function from a number to at most that many training points, (M, D) in the encoder's input space.
        likelihood: Its `constrain` and `unconstrain` map to and from the encoder's input space.
    """
    prior, settings = own.choose(PRIORS, settings)
    if settings.pseudo_inputs:
        return prior(inputs(settings.components), likelihood.constrain, likelihood.unconstrain)
    return prior(latent, **settings.arguments())
