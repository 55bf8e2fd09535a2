"""A flow: every component stretches and shifts the codes by amounts of its own (an affine flow)."""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from mixvae.distributions.flows import Pushed
from mixvae.distributions.gaussians import FlowedMixture
from mixvae.study.kinds import FlowSettings


class Settings(FlowSettings):
    """It has no settings."""

    def skip_reason(self, run, dataset):
        """Say why a run makes no sense with this flow; such a run is listed as skipped, with this text."""
        return "stretch_flow treats components differently, and K = 1 has one" if run.K == 1 else None


class Module(nn.Module):
    """The arguments are the number of components K, the dimension Z of the codes, and the settings."""

    is_identity = False

    def __init__(self, K: int, latent: int) -> None:
        super().__init__()
        self.distinct, self.latent = K, latent  # as many flows as components, since each has its own
        self.log_stretch = nn.Parameter(torch.zeros(K, 1, latent))
        self.shift = nn.Parameter(torch.zeros(K, 1, latent))

    def push(self, z: Tensor) -> Pushed:
        """Map (L, K, B, Z), and return for each flow j the points that it maps to the results, with log|det|."""
        L, K, B, Z = z.shape
        pushed = z * self.log_stretch.exp() + self.shift
        base, log_det = self.inverse(pushed.reshape(1, L * K * B, Z).expand(K, -1, -1))
        return Pushed(pushed, base.view(K, L, K, B, Z), log_det.view(K, L, K, B))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the points that each flow j maps to z[j], for z (J, N, Z), and log|det| of the flow there, (J, N)."""
        base = (z - self.shift) * (-self.log_stretch).exp()
        return base, self.log_stretch.sum(-1).expand(z.shape[:-1])

    def aggregate(self, mean: Tensor, log_var: Tensor, dtype: torch.dtype) -> Distribution:
        """Return the prior that a VampPrior makes of M posteriors under K components, (K, M, Z) each."""
        return FlowedMixture(mean, log_var, self, dtype)
