"""A metric with its table: the mixture VAE, which also measures how far apart its encoders place a point."""

from typing import ClassVar

import torch
from torch import Tensor

from mixvae.models.vae import MixtureVAE
from mixvae.study import systems


class Settings(systems.MixtureVAE):
    """The settings of the mixture VAE. `metrics` describes what only this model measures: the table `own` has a row for it."""

    metrics: ClassVar = {"spread": {"note": "distance between the means of two encoders for a point, on average over pairs"}}

    def extra_metrics(self, kind: str) -> set[str]:
        """Return which metrics a run has: one encoder has no pairs."""
        return {"spread"} if self.K > 1 else set()


class Module(MixtureVAE):
    """The mixture VAE."""

    def extra_metrics(self, x: Tensor) -> dict[str, tuple[float, str]]:
        """Return {name: (value, unit)} of test points (N, D)."""
        if self.sampled_components == 1:
            return {}
        mean = self.codes(x)[0].transpose(0, 1)  # (N, K, Z)
        return {"spread": (torch.stack([torch.pdist(point).mean() for point in mean]).mean().item(), "distance in z")}
