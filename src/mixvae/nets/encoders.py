"""This file builds encoders, the networks from x to the parameters of K posteriors, in one module for all K."""

import math
from collections.abc import Sequence
from functools import partial

from torch import nn

from mixvae import own
from mixvae.nets.conv import PerComponent, convolutions
from mixvae.nets.dense import BatchedLinear, NoLayers, hidden_layers
from mixvae.study import parts


def _dense(settings: parts.MLP, K: int, shape: Sequence[int]) -> tuple[nn.Module, int]:
    sizes = (math.prod(shape), *settings.hidden)
    layers = hidden_layers(partial(BatchedLinear, K), sizes, settings.activation, settings.dropout)
    return nn.Sequential(*(layers or [NoLayers(K)])), sizes[-1]


def _convolutional(settings: parts.Conv, K: int, shape: Sequence[int]) -> tuple[nn.Module, int]:
    trunk = PerComponent(K, partial(convolutions, shape, settings.layers, settings.activation))
    return trunk, math.prod(settings.shapes(shape)[-1])


ENCODERS = {parts.MLP: _dense, parts.Conv: _convolutional}
"""Every encoder by the class of its settings."""


def features(settings: parts.Encoder, K: int, shape: Sequence[int]) -> tuple[nn.Module, int]:
    """Return K networks without a final affine map, (B, D) or (K, B, D) -> (K, B, F), and F.

    They share an input of (B, D). The shape is that of one point, (channels, height, width) for convolutions.
    """
    build, settings = own.choose(ENCODERS, settings)
    network = build(settings, K, shape)
    return network if isinstance(network, tuple) else (network, network.features)  # a user's own says its F itself


def encoder(settings: parts.Encoder, K: int, shape: Sequence[int], out_features: int) -> nn.Sequential:
    """Return K networks with a final affine map, (B, D) or (K, B, D) -> (K, B, out_features); see `features`."""
    trunk, width = features(settings, K, shape)
    return nn.Sequential(trunk, BatchedLinear(K, width, out_features))
