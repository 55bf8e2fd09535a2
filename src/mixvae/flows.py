"""Normalising flows: each module builds a zuko transform, which maps a sample and gives the log-determinant."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform, Transform
from torch.nn.functional import logsigmoid
from zuko.nn import MaskedMLP
from zuko.transforms import AutoregressiveTransform, ComposedTransform


class _Gate(AffineTransform):
    """z -> sigmoid(s) z + (1 - sigmoid(s)) m, with log|det| taken from the logit, which cannot underflow."""

    def __init__(self, s: Tensor, m: Tensor) -> None:
        gate = s.sigmoid()
        super().__init__(loc=(1 - gate) * m, scale=gate, event_dim=1)
        self.logit = s

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return logsigmoid(self.logit).sum(-1)


class InverseAutoregressiveFlow(nn.Module):
    r"""Inverse autoregressive flow (Kingma et al., 2016), z <- sigmoid(s) z + (1 - sigmoid(s)) m with (s, m) = MADE(z).

    Each of the T steps is a MADE in natural order, so that log|det| is the sum of log sigmoid(s). One flow serves
    all components of a mixture: the mixture's density at z_T is its density at z_0 divided by |det|, no inverse needed.
    The source papers do not name MADE's activation; ELU is what the flow's own authors use.

    Arguments:
        latent: The dimension Z.
        steps: T, how many steps are composed.
        hidden: Widths of each MADE's hidden layers.
    """

    def __init__(self, latent: int, steps: int, hidden: Sequence[int]) -> None:
        super().__init__()
        # row i of s and of m may read z_1 .. z_{i-1}
        reads = torch.ones(latent, latent, dtype=torch.bool).tril(-1).repeat(2, 1)
        self.mades = nn.ModuleList(MaskedMLP(reads, hidden, activation=nn.ELU) for _ in range(steps))
        self.latent = latent

    def forward(self) -> Transform:
        """Return the transform z_0 -> z_T on (..., Z); its `call_and_ladj` gives (z_T, log|det|)."""
        return ComposedTransform(*(AutoregressiveTransform(self._meta(made), passes=self.latent) for made in self.mades))

    @staticmethod
    def _meta(made: nn.Module):
        def gate(z: Tensor) -> Transform:
            return _Gate(*made(z).chunk(2, dim=-1))

        return gate
