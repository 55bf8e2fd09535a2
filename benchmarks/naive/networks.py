"""Networks of one component each, with weights copied from the library's, which hold all components at once."""

import copy
import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, relu

from mixvae.nets import BatchedLinear
from mixvae.nets.conv import PerComponent
from mixvae.nets.dense import NoLayers
from mixvae.nets.pixelcnn import CausalConv2d
from mixvae.nets.pixelcnn import PixelCNN as LibraryPixelCNN


class Copies:
    """Which part of which of the library's parameters each naive parameter is a copy of; the gradients' parts correspond, too."""

    def __init__(self) -> None:
        self.entries: list[tuple[nn.Parameter, nn.Parameter, Callable[[Tensor], Tensor]]] = []

    def of(self, source: nn.Parameter, part: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> nn.Parameter:
        """Return a parameter that starts as `part` of a parameter of the library."""
        own = nn.Parameter(part(source.detach()).clone(memory_format=torch.contiguous_format))
        self.entries.append((own, source, part))
        return own

    def module(self, source: nn.Module) -> nn.Module:
        """Return a copy of a module of the library that is not written any other way here."""
        own = copy.deepcopy(source)
        self.entries += [(a, b, lambda tensor: tensor) for a, b in zip(own.parameters(), source.parameters(), strict=True)]
        return own


class Gated(nn.Module):
    """h(x) * sigmoid(g(x)) of two affine maps or convolutions."""

    def __init__(self, h: nn.Module, g: nn.Module) -> None:
        super().__init__()
        self.h, self.g = h, g

    def forward(self, x: Tensor) -> Tensor:
        return self.h(x) * torch.sigmoid(self.g(x))


def affine(copies: Copies, layer: nn.Module, k: int, rows: slice = slice(None)) -> nn.Module:
    """Return outputs `rows` of an affine map or a convolution; of a batched map those of component k."""
    if isinstance(layer, BatchedLinear):
        weight = copies.of(layer.weight, lambda tensor: tensor[k, :, rows].T)
        bias = copies.of(layer.bias, lambda tensor: tensor[k, 0, rows])
    else:
        weight, bias = (copies.of(source, lambda tensor: tensor[rows]) for source in (layer.weight, layer.bias))
    if isinstance(layer, nn.Conv2d):
        own: nn.Module = nn.Conv2d(layer.in_channels, len(weight), layer.kernel_size, layer.stride, layer.padding)
    else:
        own = nn.Linear(weight.shape[1], len(weight))
    own.weight, own.bias = weight, bias
    return own


def network(copies: Copies, layers: nn.Module, k: int = 0) -> nn.Sequential:
    """Return component k's network of layers that hold all components, or one network that all components share."""
    if isinstance(layers, PerComponent):
        layers = layers.networks[k]
    own: list[nn.Module] = []
    for layer, after in itertools.pairwise([*layers, None]):
        if isinstance(layer, nn.Sequential | PerComponent):
            own.append(network(copies, layer, k))
        elif isinstance(layer, BatchedLinear | nn.Linear | nn.Conv2d):
            if isinstance(after, nn.GLU):
                half = (layer.bias.shape[-1]) // 2
                own.append(Gated(affine(copies, layer, k, slice(0, half)), affine(copies, layer, k, slice(half, None))))
            else:
                own.append(affine(copies, layer, k))
        elif not isinstance(layer, nn.GLU | NoLayers):
            own.append(copy.deepcopy(layer))
    return nn.Sequential(*own)


class DenseDecoder(nn.Module):
    """Dense layers from one code, or from two that each pass a layer of their own first."""

    def __init__(self, copies: Copies, decoder: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(network(copies, branch) for branch in decoder.branches)
        self.layers = network(copies, decoder.layers)

    def forward(self, codes: Sequence[Tensor], x: Tensor) -> Tensor:
        """Return (L, B, P) for codes of (L, B, Z_i)."""
        if len(self.branches):
            codes = [branch(code) for branch, code in zip(self.branches, codes, strict=True)]
        return self.layers(torch.cat(list(codes), dim=-1))


class MaskedConv2d(nn.Conv2d):
    """A 3x3 convolution whose kernel is masked: nothing below, nor to the right in the own row, nor own pixels of `unseen`.

    Arguments:
        unseen: How many of the first channels are the image itself, of which a pixel may not see its own place.
    """

    mask: Tensor

    def __init__(self, copies: Copies, layer: CausalConv2d, unseen: int) -> None:
        outputs, inputs = layer.weight.shape[:2]
        super().__init__(inputs, outputs, 3, padding=1)
        self.weight = copies.of(layer.weight, lambda tensor: pad(tensor, (0, 0, 0, 1)))
        self.bias = copies.of(layer.bias)
        mask = torch.ones_like(self.weight, requires_grad=False)
        mask[:, :, 2] = mask[:, :, 1, 2] = mask[:, :unseen, 1, 1] = 0
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.weight * self.mask, self.bias, padding=1)


class PixelCNN(nn.Module):
    """Masked convolutions over the image and a plane made from each code, side by side as channels."""

    def __init__(self, copies: Copies, decoder: LibraryPixelCNN) -> None:
        super().__init__()
        self.sides = decoder.sides
        self.planes = nn.ModuleList(network(copies, plane) for plane in decoder.planes)
        self.layers = nn.ModuleList([MaskedConv2d(copies, decoder.first, 1)])
        self.layers.extend(MaskedConv2d(copies, layer, 0) for layer in decoder.hidden)
        self.logit = affine(copies, decoder.logit, 0)

    def forward(self, codes: Sequence[Tensor], x: Tensor) -> Tensor:
        """Return (L, B, D) logits for codes of (L, B, Z_i) and x (B, D)."""
        L, B = codes[0].shape[:2]
        planes = [plane(code) for plane, code in zip(self.planes, codes, strict=True)]
        h = torch.stack([x.expand(L, B, -1), *planes], dim=2).view(L * B, -1, *self.sides)
        for layer in self.layers:
            h = relu(layer(h))
        return self.logit(h).view(L, B, -1)


def decoder(copies: Copies, layers: nn.Module) -> nn.Module:
    """Return the naive decoder, (codes (L, B, Z_i), x (B, D)) -> (L, B, P), of one of the library's."""
    return (PixelCNN if isinstance(layers, LibraryPixelCNN) else DenseDecoder)(copies, layers)
