"""A bridge is what annealed importance sampling needs of a model: a distribution to start from, and the joint density to arrive at."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mixvae.distributions.coordinates import Coordinates
from mixvae.distributions.gaussians import gaussian_log_prob, log_mixture
from mixvae.distributions.posteriors import GaussianMixture


class Bridge(NamedTuple):
    """The posterior r(u | x) and the joint density p(x, u) of B points, over coordinates u in R^U that have no bounds.

    The integral of p(x, u) over u is p(x): discrete latent variables are summed out, and a change of coordinates comes with its
    Jacobian. Both densities have gradients with respect to u, and are added up in float64.

    start: Turns standard normal noise (C, B, noise_size + 1) into samples u of r, (C, B, U); the last number of the noise chooses
        the component.
    log_base: Returns log r(u | x) of u (C, B, U), (C, B) in float64.
    log_joint: Returns log p(x, u) of u (C, B, U), (C, B) in float64.
    passes: How often a sample passes the model's widest array, which sets how many points are measured at once.
    """

    start: Callable[[Tensor], Tensor]
    log_base: Callable[[Tensor], Tensor]
    log_joint: Callable[[Tensor], Tensor]
    passes: int = 1


def choose(noise: Tensor, K: int) -> Tensor:
    """Return one of K components, all equally likely, for each standard normal number (...)."""
    return (K * torch.special.ndtr(noise.double())).long().clamp(max=K - 1)


def picked(parameters: Tensor, chosen: Tensor) -> Tensor:
    """Return each sample's own of the components' parameters: (C, B, Z) of (K, B, Z), for `chosen` (C, B)."""
    return parameters[chosen, torch.arange(chosen.shape[1], device=chosen.device)]


def mixture_bridge(q: GaussianMixture, log_joint: Callable[[Tensor], Tensor]) -> Bridge:
    """Return the bridge from a mixture of Gaussians to a joint density of codes z.

    Arguments:
        log_joint: Returns log p(x, z) of z (C, B, Z), (C, B) in float64.
    """
    coordinates = Coordinates(q.flow)
    mean, log_var = q.mean.double(), q.log_var.double()

    def start(noise: Tensor) -> Tensor:
        chosen = choose(noise[..., -1], len(q.mean))
        base = picked(q.mean, chosen) + picked(q.std, chosen) * noise[..., : q.mean.shape[-1]]
        return coordinates.of_base(base, chosen)

    def log_base(u: Tensor) -> Tensor:
        base, log_det = coordinates.base(u)
        return log_mixture(gaussian_log_prob(base.double(), mean[:, None], log_var[:, None]) - log_det)

    def log_joint_of_u(u: Tensor) -> Tensor:
        z, log_det = coordinates.codes(u)
        return log_joint(z) + log_det

    return Bridge(start, log_base, log_joint_of_u)
