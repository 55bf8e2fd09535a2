"""This room builds networks; the networks of a mixture's K components are built as one module that computes all K."""

from mixvae.nets.decoders import decoder, decoders, generate
from mixvae.nets.dense import BatchedLinear, mlp
from mixvae.nets.encoders import encoder, features

__all__ = ["BatchedLinear", "decoder", "decoders", "encoder", "features", "generate", "mlp"]
