"""Likelihoods of binarised pixels."""

from __future__ import annotations

from torch import Tensor, nn
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Distribution, Independent
from torch.nn.functional import hardtanh


class Bernoulli(nn.Module):
    """Independent pixels with logits h; never log(p + epsilon), which is biased.

    Arguments:
        features: D, the number of pixels.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.parameters_per_point = features

    def forward(self, h: Tensor, x: Tensor | None) -> Distribution:
        """Return p(x | h) for h of (..., D); `x` is not needed."""
        return Independent(TorchBernoulli(logits=h, validate_args=False), 1, validate_args=False)

    @staticmethod
    def encoder_input(x: Tensor) -> Tensor:
        """Pixels as they are."""
        return x

    @staticmethod
    def constrain(free: Tensor) -> Tensor:
        """Keep pseudo-inputs in [0, 1]."""
        return hardtanh(free, 0.0, 1.0)

    @staticmethod
    def unconstrain(x: Tensor) -> Tensor:
        """Move pixels off the edges of [0, 1], where hardtanh has no gradient and a pseudo-input would never change."""
        return x.clamp(0.01, 0.99)
