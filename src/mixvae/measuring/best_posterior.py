"""This file finds the best posterior of a family for each point, to see where the nats between bound and likelihood go.

With q* the best posterior of the model's own family (K Gaussians behind the same flow), log p(x) - ELBO(q*) is the approximation
gap, and ELBO(q*) - ELBO(q) the amortisation gap (Cremer, Li & Duvenaud, 2018).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mixvae.distributions.posteriors import LOG_VAR_RANGE, GaussianMixture
from mixvae.models import Model
from mixvae.models.objectives import component_elbos

STEPS, RATE = 300, 0.05
"""The gradient steps, and the first step size in units of the encoder's standard deviations; it falls to 0 on a cosine."""
STEP_SAMPLES, BOUND_SAMPLES = 16, 512
"""How many samples of the whole mixture a gradient step takes, and how many a bound that is reported."""

Noise = Callable[[int, int], Tensor]


def fitted(model: Model, x: Tensor, prior: Any, start: GaussianMixture, noise: Noise) -> GaussianMixture:
    """Return the mixture with the greatest MISELBO of every point of (B, D), found by Adam from `start`; decoder and flow are frozen.

    Arguments:
        noise: Returns normal numbers (C, B, n) for C and n.
    """
    K, _, Z = start.mean.shape
    shift, log_var = torch.zeros_like(start.mean, requires_grad=True), start.log_var.detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([shift, log_var], lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        with torch.enable_grad():
            q = GaussianMixture(start.mean + start.std * shift, log_var, start.flow)
            drawn = noise(max(1, STEP_SAMPLES // K) * K, Z).unflatten(0, (-1, K))
            bound = model.log_terms(x, q, prior, drawn).log_weights().mean((0, 1)).sum()
            shift.grad, log_var.grad = (-gradient for gradient in torch.autograd.grad(bound, (shift, log_var)))
        optimiser.step()
        schedule.step()
        log_var.data.clamp_(*LOG_VAR_RANGE)
    return GaussianMixture(start.mean + start.std * shift.detach(), log_var.detach(), start.flow)


def bounds(model: Model, x: Tensor, prior: Any, q: GaussianMixture, normal: Tensor) -> Tensor:
    """Return one-sample bounds log w, averaged over the components, of every point of (B, D), (L, B) in float64.

    Arguments:
        normal: (L, K, B, Z) standard normal noise.
    """
    return torch.cat([model.log_terms(x, q, prior, part).log_weights().double().mean(1) for part in normal.split(64)])


def best_component(model: Model, x: Tensor, prior: Any, q: GaussianMixture, normal: Tensor) -> GaussianMixture:
    """Return the component with the greatest ELBO of its own at every point of (B, D), as a mixture of one."""
    best = component_elbos(model.log_terms(x, q, prior, normal)).argmax(0)
    points = torch.arange(len(x), device=x.device)
    return GaussianMixture(q.mean[best, points][None], q.log_var[best, points][None], q.flow)
