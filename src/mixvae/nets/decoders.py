"""This file builds decoders, the networks from latent codes to a likelihood's parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from mixvae import own
from mixvae.nets.conv import PerComponent, transposed_convolutions
from mixvae.nets.dense import BatchedLinear, hidden_layers, mlp, widened
from mixvae.nets.pixelcnn import PixelCNN
from mixvae.study import parts


class DenseDecoder(nn.Module):
    """A decoder of dense layers; two codes each pass a first layer of their own, and are then joined (Tomczak & Welling, 2018).

    The arguments are those of `decoder`; the shape is not used.
    """

    def __init__(self, settings: parts.MLP, latents: Sequence[int], shape: Sequence[int], outputs: int) -> None:
        super().__init__()
        hidden, style = settings.hidden, (settings.activation, settings.dropout)
        self.branches = nn.ModuleList()
        sizes = (*latents, *hidden)
        if len(latents) > 1:
            self.branches.extend(nn.Sequential(*hidden_layers(nn.Linear, (Z, hidden[0]), *style)) for Z in latents)
            sizes = (len(latents) * hidden[0], *hidden[1:])
        self.layers = mlp(nn.Linear, sizes, outputs, *style)
        self.width = max(sizes[0], widest(hidden, settings.activation, outputs))

    @staticmethod
    def of_components(settings: parts.MLP, K: int, latent: int, shape: Sequence[int], outputs: int) -> Decoders:
        """Return K decoders at once, see `decoders`."""
        sizes, linear = (latent, *settings.hidden), partial(BatchedLinear, K)
        layers = mlp(linear, sizes, outputs, settings.activation, settings.dropout)
        return Decoders(layers, widest(settings.hidden, settings.activation, outputs))

    def forward(self, codes: Sequence[Tensor], x: Tensor | None) -> Tensor:
        """Return (..., B, P) for codes of (..., B, Z_i); `x` is not used."""
        if self.branches:
            codes = [branch(code) for branch, code in zip(self.branches, codes, strict=True)]
            return self.layers(torch.cat(codes, dim=-1))
        (code,) = codes
        return self.layers(code)


class DeconvDecoder(nn.Module):
    """A decoder of transposed convolutions from one code, which mirrors the encoder of the same layers.

    The arguments are those of `decoder`.
    """

    def __init__(self, settings: parts.Deconv, latents: Sequence[int], shape: Sequence[int], outputs: int) -> None:
        super().__init__()
        (latent,) = latents
        self.layers = transposed_convolutions(latent, shape, settings.layers, settings.activation, outputs)
        self.width = self._widest(settings, shape, outputs)

    @staticmethod
    def of_components(settings: parts.Deconv, K: int, latent: int, shape: Sequence[int], outputs: int) -> Decoders:
        """Return K decoders at once, see `decoders`."""
        network = partial(transposed_convolutions, latent, shape, settings.layers, settings.activation, outputs)
        return Decoders(PerComponent(K, network), DeconvDecoder._widest(settings, shape, outputs))

    @staticmethod
    def _widest(settings: parts.Deconv, shape: Sequence[int], outputs: int) -> int:
        sizes = [math.prod(map_shape) for map_shape in settings.shapes(shape)[1:]]  # all feature maps except the image
        return widest(sizes, settings.activation, outputs)

    def forward(self, codes: Sequence[Tensor], x: Tensor | None) -> Tensor:
        """Return (..., B, P) for one code of (..., B, Z); `x` is not used."""
        (code,) = codes
        return self.layers(code.flatten(0, -2)).view(*code.shape[:-1], -1)


class Decoders(nn.Module):
    """K decoders with one code each, in one module, of layers (K, B, Z) -> (K, B, P); `width` is that of one decoder."""

    def __init__(self, layers: nn.Module, width: int) -> None:
        super().__init__()
        self.layers, self.width = layers, width

    def forward(self, codes: Tensor) -> Tensor:
        """Return (..., K, B, P) for (..., K, B, Z)."""
        *lead, K, B, Z = codes.shape
        h = self.layers(codes.reshape(-1, K, B, Z).transpose(0, 1).flatten(1, 2))
        return h.unflatten(1, (-1, B)).transpose(0, 1).reshape(*lead, K, B, -1)


class OfOneCode(nn.Module):
    """A decoder of one code, as a network (B, Z) -> (B, P)."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, code: Tensor) -> Tensor:
        """Return (B, P) for (B, Z)."""
        return self.decoder([code], None)


def widest(sizes: Sequence[int], activation: str, outputs: int) -> int:
    """Return the size of the widest array in layers of these sizes."""
    return max(outputs, *(widened(size, activation) for size in (0, *sizes)))


DECODERS = {parts.MLP: DenseDecoder, parts.Deconv: DeconvDecoder, parts.PixelCNN: PixelCNN}
"""Every decoder by the class of its settings."""


def decoder(settings: parts.Decoder, latents: Sequence[int], shape: Sequence[int], outputs: int) -> nn.Module:
    """Return the decoder that `settings` describes: (codes (..., B, Z_i), x (B, D) or None) -> (..., B, P).

    Its `width` is the size of the widest array through which one sample passes; the feature maps of a PixelCNN do not count,
    since they exist for only a block of samples at a time.

    Arguments:
        latents: The dimension of each code.
        shape: The shape of one point.
        outputs: P, the likelihood's parameters per point; for images in the order (channels, height, width).
    """
    build, settings = own.choose(DECODERS, settings)
    return build(settings, latents, shape, outputs)


def decoders(settings: parts.Decoder, K: int, latent: int, shape: Sequence[int], outputs: int) -> Decoders:
    """Return K decoders that do not read x in one module, (..., K, B, Z) -> (..., K, B, P); see `decoder`."""
    if type(settings) in DECODERS:
        return DECODERS[type(settings)].of_components(settings, K, latent, shape, outputs)
    layers = PerComponent(K, lambda: OfOneCode(decoder(settings, (latent,), shape, outputs)))
    return Decoders(layers, layers.networks[0].decoder.width)


def generate(decoder: nn.Module, likelihood: nn.Module, codes: Sequence[Tensor], x: Tensor | None = None) -> Tensor:
    """Return E[x | codes] for codes of (..., B, Z_i) as (..., B, D); an autoregressive decoder gives a sample of x instead.

    Arguments:
        decoder: A decoder from `decoder`; an autoregressive one has a method `sample`.
        x: (B, D) points, for a likelihood that conditions on them, such as on the library size of counts.
    """
    if hasattr(decoder, "sample"):
        images = decoder.sample([code.flatten(0, -2) for code in codes])
        return images.view(*codes[0].shape[:-1], -1)
    return likelihood(decoder(codes, x), x).mean
