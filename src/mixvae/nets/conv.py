"""This file builds convolutional networks, their mirror images of transposed convolutions, and K of either in one module."""

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mixvae.nets.dense import activated, widened
from mixvae.study.layers import feature_shapes, padding


class PerComponent(nn.Module):
    """K networks of one shape, each with weights of its own, that compute one after the other.

    It is a loop, since grouped convolutions (`groups=K`) compute the same more slowly on a CPU. The default layers on 28x28,
    batch 100, K = 4, forward and backward, took 449 ms in a loop and 774 grouped on one thread, 243 and 443 on two; unfolding
    and a batched matrix product took 1900 ms and more. Transposed convolutions from 128x4x4 to 3x32x32: 84 and 134, 47 and 83.

    Arguments:
        network: Builds one network, (B, in) -> (B, out).
    """

    def __init__(self, K: int, network: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(network() for _ in range(K))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in), shared by all K, or (K, B, in) to (K, B, out)."""
        inputs = x.expand(len(self.networks), *x.shape[-2:])
        return torch.stack([network(part) for network, part in zip(self.networks, inputs, strict=True)])


def convolutions(shape: Sequence[int], layers: Sequence[tuple[int, int, int]], activation: str) -> nn.Sequential:
    """Return one network, (B, D) -> (B, F), of convolutions with their activations, flattened at the end.

    Arguments:
        shape: (channels, height, width) of an image.
        layers: (channels, kernel, stride) of every convolution.
        activation: "gated" or "relu", as for `mlp`; the gate is a convolution too.
    """
    modules: list[nn.Module] = [nn.Unflatten(-1, tuple(shape))]
    for (before, _, _), (channels, kernel, stride) in zip(feature_shapes(shape, layers), layers, strict=False):
        convolution = nn.Conv2d(before, widened(channels, activation), kernel, stride, padding(kernel))
        modules += [convolution, activated(activation, 1)]
    return nn.Sequential(*modules, nn.Flatten())


def transposed_convolutions(
    latent: int, shape: Sequence[int], layers: Sequence[tuple[int, int, int]], activation: str, outputs: int
) -> nn.Sequential:
    """Return the mirror image of `convolutions`, (B, Z) -> (B, P): a dense layer, then transposed convolutions.

    Arguments:
        shape, layers, activation: As for `convolutions`; the feature maps have the same shapes in reverse order.
        outputs: P, the numbers per point, a multiple of height x width; the last layer has no activation.
    """
    shapes = feature_shapes((outputs // math.prod(shape[1:]), *shape[1:]), layers)
    size = math.prod(shapes[-1])
    modules = [nn.Linear(latent, widened(size, activation)), activated(activation), nn.Unflatten(-1, shapes[-1])]
    for (after, before), (_, kernel, stride) in zip(itertools.pairwise(shapes[::-1]), layers[::-1], strict=True):
        # where the stride does not divide a size, the convolution dropped a remainder; output padding adds it again
        shortest = [(side - 1) * stride - 2 * padding(kernel) + kernel for side in after[1:]]
        remainder = tuple(side - short for side, short in zip(before[1:], shortest, strict=True))
        last = before is shapes[0]
        channels = before[0] if last else widened(before[0], activation)
        modules.append(nn.ConvTranspose2d(after[0], channels, kernel, stride, padding(kernel), remainder))
        if not last:
            modules.append(activated(activation, 1))
    return nn.Sequential(*modules, nn.Flatten())
