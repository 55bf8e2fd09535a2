"""The clustering models draw categories as functions of normal noise, and compare them with the uniform prior."""

from __future__ import annotations

import math

import torch
from torch import Tensor

INITIAL_SPREAD = 0.1
"""Standard deviation of the categories' prior means at the start. From standard normal draws the category that happens to lie
nearest takes every point before anything is learnt, and keeps them: 1 of 10 categories was in use on MNIST, against all 10."""


def draw_categories(log_probabilities: Tensor, noise: Tensor) -> Tensor:
    """Return categories (L, B) drawn from the rows of (B, C) by inverse CDF of Phi(noise), for noise (L, B).

    Computed in float64: there, standard normals of float32 never come near enough to 0 or 1 to hit a category whose
    probability is rounded away, and the weight of which would then be enormous.
    """
    edges = log_probabilities.double().softmax(-1).cumsum(-1)
    uniform = torch.special.ndtr(noise.double())
    chosen = torch.searchsorted(edges, uniform.T.contiguous()).T
    # the last edge may be rounded to a little below 1
    return chosen.clamp(max=log_probabilities.shape[-1] - 1)


def uniform_kl(log_probabilities: Tensor) -> Tensor:
    """Return KL(q(c) || 1/C) of (..., C) as (...)."""
    return (log_probabilities.exp() * log_probabilities).sum(-1) + math.log(log_probabilities.shape[-1])
