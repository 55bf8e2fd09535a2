"""This file has the Gaussian likelihood, for real numbers and for grey or colour levels taken as real numbers."""

import math
from collections.abc import Sequence

from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from mixvae.distributions.likelihoods.images import Levels


class Gaussian(Levels):
    """Independent normals with means h and one fixed standard deviation.

    A shape of three axes is that of an image, whose levels and pseudo-inputs are in [0, 1].
    """

    def __init__(self, shape: Sequence[int], std: float) -> None:
        super().__init__()
        self.parameters_per_point = math.prod(shape)
        self.image = len(shape) == 3
        self.std = std

    def forward(self, h: Tensor, x: Tensor | None) -> Distribution:
        """Return p(x | h) for h of (..., D); `x` is not used."""
        # made on h's device, since torch would copy a python number there and wait for the GPU
        std = h.new_full((), self.std)
        return Independent(Normal(h, std, validate_args=False), 1, validate_args=False)

    @staticmethod
    def constant(x: Tensor) -> Tensor:
        """Return the mean (D,) of (N, D)."""
        return x.mean(0)

    def constrain(self, free: Tensor) -> Tensor:
        """Keep the pseudo-inputs of images in [0, 1]; those of real numbers are unchanged."""
        return super().constrain(free) if self.image else free

    def unconstrain(self, x: Tensor) -> Tensor:
        """Return the free numbers that `constrain` maps to x; an image's are moved off the edges of [0, 1]."""
        return super().unconstrain(x) if self.image else x
