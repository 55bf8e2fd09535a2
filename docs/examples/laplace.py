"""A likelihood: grey levels in [0, 1] with Laplace noise, which forgives outliers more than a Gaussian."""

import math

from torch import Tensor
from torch.distributions import Distribution, Independent, Laplace

from mixvae.distributions.likelihoods.images import Levels
from mixvae.study.base import PositiveReal
from mixvae.study.kinds import LikelihoodSettings


class Settings(LikelihoodSettings):
    """`scale` is the mean distance of a level from its prediction. The other lines are facts for tables and the audit."""

    kinds = ("grey_image", "colour_image")
    measure = "real numbers"

    scale: PositiveReal = 0.1


class Module(Levels):
    """The arguments are the shape of a point, of D numbers in all, and the settings."""

    def __init__(self, shape: tuple[int, ...], scale: float) -> None:
        super().__init__()
        self.parameters_per_point = math.prod(shape)  # P, the decoder's outputs per point
        self.scale = scale

    def forward(self, h: Tensor, x: Tensor | None) -> Distribution:
        """Return p(x | h) over (D,) for a decoder's outputs h (..., P)."""
        return Independent(Laplace(h, h.new_full((), self.scale), validate_args=False), 1, validate_args=False)

    @staticmethod
    def constant(x: Tensor) -> Tensor:
        """Return the one output (P,) that fits all points (N, D) best: the control. It is the median."""
        return x.median(0).values
