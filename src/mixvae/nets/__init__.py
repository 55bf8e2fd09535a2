"""This room builds networks; those of a mixture's K components are one batched computation, never a loop over components."""

from mixvae.nets.decoders import decoder, decoders, generate
from mixvae.nets.dense import BatchedLinear, mlp
from mixvae.nets.encoders import encoder, features

__all__ = ["BatchedLinear", "decoder", "decoders", "encoder", "features", "generate", "mlp"]
