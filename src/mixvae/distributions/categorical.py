"""What the clustering models share: draws of a category that are functions of normal noise, and closed-form KLs."""

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


def gaussian_kl(mean: Tensor, log_var: Tensor, prior_mean: Tensor, prior_log_var: Tensor) -> Tensor:
    """Return KL(N(mean, exp log_var) || N(prior_mean, exp prior_log_var)), summed over the last axis; shapes broadcast."""
    log_ratio = log_var - prior_log_var
    return 0.5 * (log_ratio.exp() + (mean - prior_mean).square() * (-prior_log_var).exp() - log_ratio - 1).sum(-1)


def gaussian_kl_to_each(mean: Tensor, log_var: Tensor, prior_mean: Tensor, prior_log_var: Tensor) -> Tensor:
    """Return `gaussian_kl` from each of B Gaussians (B, Z) to each of C priors (C, Z) as (B, C).

    By one matrix product instead of a (B, C, Z) array, coordinates centred first, which makes a training step with 500
    categories several times faster. Where both are narrow and near each other it cancels, to some 1e-3 in float32: good
    for training only.
    """
    centre = prior_mean.detach().mean(0)
    mean, prior_mean, precision = mean - centre, prior_mean - centre, (-prior_log_var).exp()
    features = torch.cat((log_var.exp() + mean.square(), mean), dim=-1)
    weights = torch.cat((precision, -2 * precision * prior_mean), dim=-1)
    constant = (prior_mean.square() * precision + prior_log_var).sum(-1)
    return 0.5 * (torch.addmm(constant, features, weights.T) - log_var.sum(-1, keepdim=True) - mean.shape[-1])
