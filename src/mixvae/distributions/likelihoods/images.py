"""This file has the Bernoulli likelihood of binarised pixels, and what all likelihoods of images have in common."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution
from torch.nn.functional import hardtanh, logsigmoid


class Levels(nn.Module):
    """What likelihoods of levels in [0, 1] have in common: an encoder reads them as they are."""

    @staticmethod
    def encoder_input(x: Tensor) -> Tensor:
        """Return x unchanged."""
        return x

    @staticmethod
    def constrain(free: Tensor) -> Tensor:
        """Keep pseudo-inputs in [0, 1]."""
        return hardtanh(free, 0.0, 1.0)

    @staticmethod
    def unconstrain(x: Tensor) -> Tensor:
        """Move levels off the edges of [0, 1], where hardtanh has no gradient and a pseudo-input would never change."""
        return x.clamp(0.01, 0.99)


class Bernoulli(Levels):
    """Independent binary pixels with logits h; the density is computed from logits, without the bias of log(p + epsilon)."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.parameters_per_point = math.prod(shape)

    def forward(self, h: Tensor, x: Tensor | None) -> Distribution:
        """Return p(x | h) for h of (..., D); `x` is not used."""
        return Pixels(h)

    @staticmethod
    def constant(x: Tensor) -> Tensor:
        """Return the logits (D,) of each pixel's share of being on in (N, D); a grey value counts as a probability."""
        # Laplace's rule: a pixel that is never on is unlikely, not impossible
        return ((x.sum(0) + 1) / (len(x) + 2)).logit()


class Pixels(Distribution):
    """Independent binary pixels of logits (..., D).

    The density is that of torch's Bernoulli, with half the passes over a model's largest array, (L, K, B, D).
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=False)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) of x (B, D) as (...); x is data and gets no gradient."""
        return _LogProb.apply(self.logits, x)

    @property
    def mean(self) -> Tensor:
        """The probability of each pixel to be on."""
        return self.logits.sigmoid()

    @torch.no_grad()
    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample_shape, ..., D)."""
        return torch.bernoulli(self.mean.expand(*sample_shape, *self.logits.shape))


class _LogProb(torch.autograd.Function):
    """sum_d log sigmoid(h) + (x - 1) h, with the gradient x - sigmoid(h)."""

    @staticmethod
    def forward(ctx, h: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(h, x)
        return logsigmoid(h).addcmul_(x - 1, h).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        h, x = ctx.saved_tensors
        return h.sigmoid().neg_().add_(x).mul_(gradient.unsqueeze(-1)), None
