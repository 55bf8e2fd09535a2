"""This file draws the categories of clustering models from normal noise, and computes their KL to the uniform prior."""

import math

import torch
from torch import Tensor

INITIAL_SPREAD = 0.1
"""Standard deviation of the categories' prior means at the start. With means drawn from N(0, I), the category that happens to
lie nearest takes every point before anything is learnt, and keeps them: on MNIST 1 of 10 was used, all 10 with 0.1."""


def draw_categories(log_probabilities: Tensor, noise: Tensor) -> Tensor:
    """Return categories (L, B), drawn from rows of (B, C) by the inverse CDF at Phi(noise), for noise (L, B).

    It computes in float64, where Phi of a float32 normal never comes so near to 0 or 1 that it hits a category whose
    probability is rounded away; such a category would have an enormous importance weight.
    """
    edges = log_probabilities.double().softmax(-1).cumsum(-1)
    uniform = torch.special.ndtr(noise.double())
    chosen = torch.searchsorted(edges, uniform.T.contiguous()).T
    # the last edge may be rounded to a little below 1
    return chosen.clamp(max=log_probabilities.shape[-1] - 1)


def uniform_kl(log_probabilities: Tensor) -> Tensor:
    """Return KL(q(c) || 1/C) of (..., C) as (...)."""
    return (log_probabilities.exp() * log_probabilities).sum(-1) + math.log(log_probabilities.shape[-1])
