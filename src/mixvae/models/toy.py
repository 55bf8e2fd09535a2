"""This file fits K free Gaussians, with or without a flow, to a two-dimensional density (Kviman et al., 2023)."""

import math
from copy import deepcopy

import torch
from torch import Tensor, nn

from mixvae.data.targets import TARGETS
from mixvae.distributions import flows
from mixvae.distributions.gaussians import gaussian_log_prob, log_mixture
from mixvae.distributions.posteriors import GaussianMixture
from mixvae.models.objectives import LogTerms, Objective, bound
from mixvae.study.metrics import METRICS
from mixvae.study.systems import Toy as Spec

LATENT = 2
LOG_VAR_RANGE = (-9.0, 4.0)
"""Wider than an encoder's, since the variance across the ring is exp(-7.6); the least std is above the grid's step below."""
INITIAL_STD = 0.25
GRID_EXTENT, GRID_STEP = 4.0, 0.01
"""The grid covers [-4, 4]^2, six standard deviations beyond the means of the bivariate target. A sum over the grid is exact to
1e-8 for Gaussians with a standard deviation above the step; that of the ring is 0.022."""
MASS_TOLERANCE = 1e-3
GRID_CHUNK = 1 << 19
"""How many numbers the widest array of a chunk of the grid may have."""


class Toy(nn.Module):
    r"""q(z) = 1/K sum_k q_k(z), fitted to a normalised target p(z) by MISELBO, which is then -KL(q || p) <= 0.

    There is no x: the data set of the target's name holds draws from it, and a batch only says how many samples to take. Means
    start as standard normal draws, which cover either target, and standard deviations at 0.25. All components have the same
    weight, and where a component starts mostly decides in which mode of the bivariate target it ends. If n of K end in the
    smaller mode, KL(n/K || 0.2) remains; n depends on the seed.

    The arguments are those of the contract; nothing is initialised from the training points x.
    """

    def __init__(self, spec: Spec, x: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.sampled_components, self.noise_size = spec.K, LATENT
        self.target = TARGETS[spec.dataset]
        self.mean = nn.Parameter(torch.randn(spec.K, LATENT))
        self.log_var = nn.Parameter(torch.full((spec.K, LATENT), 2 * math.log(INITIAL_STD)))
        self.flow = flows.build(spec.flow, spec.K, LATENT)
        self.width = spec.K * max(LATENT, *getattr(spec.flow, "hidden", ()), 2)

    def posterior(self, x: Tensor) -> GaussianMixture:
        """Return q(z), repeated for each point of x (B, 2)."""
        return self._mixture(len(x))

    def _mixture(self, n: int) -> GaussianMixture:
        mean, log_var = (part[:, None].expand(-1, n, -1) for part in (self.mean, self.log_var.clamp(*LOG_VAR_RANGE)))
        return GaussianMixture(mean, log_var, self.flow)

    def prior_distribution(self, dtype: torch.dtype = torch.float32) -> None:
        """Return None: the target takes the place of p(x, z)."""

    def log_terms(self, x: Tensor, posterior: GaussianMixture, prior: None, noise: Tensor) -> LogTerms:
        """Return the log-densities of the target and of the mixture at samples made from noise (L, K, B, 2)."""
        draw = posterior.draw(noise)
        log_target = self.target(draw.z)
        return LogTerms(log_target, torch.zeros_like(log_target), draw.log_mixture, draw.log_component)

    def objective(self, x: Tensor, kl_weight: float | Tensor, noise: Tensor) -> Objective:
        """Return the bound to maximise and its parts, (B,) each.

        `kl_weight` is not used. It lets a decoder learn before the prior pulls on it; here there is no decoder, and without the
        full weight of the entropy every component would only shrink onto a mode.
        """
        return bound(self.log_terms(x, self.posterior(x), None, noise))

    def density(self, z: Tensor) -> Tensor:
        """Return log q(z) of z (N, 2) as (N,), by the inverse of the flow."""
        # a flow that all components share is inverted once
        base, log_det = self.flow.inverse(z.expand(self.flow.distinct, -1, -1))
        return log_mixture(gaussian_log_prob(base, self.mean[:, None], self.log_var.clamp(*LOG_VAR_RANGE)[:, None]) - log_det)

    @torch.inference_mode()
    def extra_metrics(self, x: Tensor) -> dict[str, tuple[float | None, str]]:
        """Return KL(q || p), summed over a grid in float64, and the mass of q on the grid, with their units; `x` is not used.

        If some of q lies outside of the grid, the KL is None, and its unit says so.
        """
        double = deepcopy(self).double()
        axis = torch.arange(-GRID_EXTENT, GRID_EXTENT + GRID_STEP / 2, GRID_STEP, dtype=torch.float64, device=self.mean.device)
        kl = mass = torch.zeros((), dtype=torch.float64, device=axis.device)
        for z in torch.cartesian_prod(axis, axis).split(max(1, GRID_CHUNK // self.width)):
            log_q = double.density(z)
            q = log_q.exp().nan_to_num(0.0)  # far out, where there is no mass, the inverse of a long flow may overflow
            mass = mass + q.sum()
            kl = kl + torch.where(q > 0, q * (log_q - self.target(z)), 0.0).sum()
        kl, mass = kl.item() * GRID_STEP**2, mass.item() * GRID_STEP**2
        measured = abs(mass - 1) < MASS_TOLERANCE
        found = (kl, METRICS["kl"].unit) if measured else (None, f"not measured: {mass:.3f} of q lies on the grid")
        return {"kl": found, "mass": (mass, METRICS["mass"].unit)}

    @torch.no_grad()
    def draws(self, n: int) -> Tensor:
        """Return n samples of every component, (K, n, 2)."""
        return self._mixture(n).draw(torch.randn(1, self.sampled_components, n, LATENT, device=self.mean.device)).z[0]
