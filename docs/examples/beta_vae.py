"""A model: the mixture VAE trained with the KL weighted by beta (Higgins et al., 2017, with one encoder)."""

from torch import Tensor

from mixvae.models.objectives import Objective
from mixvae.models.vae import MixtureVAE
from mixvae.study import systems
from mixvae.study.base import PositiveReal


class Settings(systems.MixtureVAE):
    """The settings of the mixture VAE, and `beta`, which stands beside the path: {path: beta_vae.py, beta: 2}."""

    beta: PositiveReal = 4.0


class Module(MixtureVAE):
    """The arguments are the run's settings, training points for initialisation, and the shape of a point."""

    def __init__(self, spec: Settings, x: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__(spec, x, shape)
        self.beta = spec.beta

    def objective(self, x: Tensor, kl_weight: float | Tensor, noise: Tensor) -> Objective:
        """Return what training maximises; likelihoods are measured by `log_terms`, which stays as it is."""
        return super().objective(x, self.beta * kl_weight, noise)
