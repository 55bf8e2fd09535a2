"""This file estimates log p(x) by annealed importance sampling from the posterior (Neal, 2001; Wu et al., 2017).

A chain goes from the posterior r(u | x) to the joint density p(x, u) through f_t = r^(1 - b_t) p^b_t, with one move of Hamiltonian
Monte Carlo (HMC) at every b_t that leaves f_t invariant. Its weight is an unbiased estimate of p(x), whatever the moves' step sizes
are, as long as these do not depend on the chain: pilot chains with noise of their own find them.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from mixvae.models.bridge import Bridge

STEEPNESS = 4.0
"""How much denser the sigmoid schedule is near its ends than in the middle."""
LEAPFROG_STEPS = 3
ACCEPTANCE = 0.8
"""The mean acceptance that the pilots aim at."""
PILOTS, PILOT_ROUNDS = 4, 5
"""How many pilot chains find a point's step sizes, and how many moves they make at the first temperature to begin with."""
FIRST_STEP, GAIN = 0.3, 1.0
"""The step size that the pilots begin with, and how far they change its logarithm after each move."""
SCALE_DRAWS = 64
"""How many draws of the posterior give the scale of each coordinate."""


class Annealed(NamedTuple):
    """What chains of annealed importance sampling found, (C, B) each.

    log_weights: log w in float64; the mean of w estimates p(x), or 1 / p(x) for chains in the reverse direction.
    acceptance: The share of accepted moves.
    """

    log_weights: Tensor
    acceptance: Tensor


class Tuning(NamedTuple):
    """What the moves of a point's chains have in common.

    scale: (B, U), the standard deviation of each coordinate under the posterior.
    steps: (T - 1, B), the step size of the move at each temperature between the first and the last.
    """

    scale: Tensor
    steps: Tensor


class _State(NamedTuple):
    """Points u (C, B, U) of chains, the log-densities there, (C, B) each in float64, and their gradients, (C, B, U) each."""

    u: Tensor
    log_base: Tensor
    log_joint: Tensor
    base_gradient: Tensor
    joint_gradient: Tensor

    def log_density(self, temperature: float) -> Tensor:
        """Return log f_t, (C, B)."""
        return (1 - temperature) * self.log_base + temperature * self.log_joint

    def gradient(self, temperature: float) -> Tensor:
        """Return the gradient of log f_t, (C, B, U)."""
        return (1 - temperature) * self.base_gradient + temperature * self.joint_gradient


def schedule(T: int) -> list[float]:
    """Return b_0 = 0 .. b_T = 1 on a sigmoid (Wu et al., 2017)."""
    points = torch.linspace(-STEEPNESS, STEEPNESS, T + 1, dtype=torch.float64).sigmoid()
    return ((points - points[0]) / (points[-1] - points[0])).tolist()


def noise_per_chain(T: int, noise_size: int, coordinates: int) -> int:
    """Return how many normal numbers a chain needs: those of its start, and for each of T - 1 moves the momentum and one more."""
    return noise_size + 1 + (T - 1) * (coordinates + 1)


def tune(bridge: Bridge, T: int, noise: Callable[[int, int], Tensor], noise_size: int) -> Tuning:
    """Return the scale and the step sizes of B points, found by draws and pilot chains that serve nothing else.

    Arguments:
        noise: Returns normal numbers (C, B, n) for C and n, from streams that no other chain reads.
    """
    scale = bridge.start(noise(SCALE_DRAWS, noise_size + 1)).std(0)
    temperatures = schedule(T)
    start = bridge.start(noise(PILOTS, noise_size + 1))
    state = _evaluated(bridge, start)
    step = start.new_full((start.shape[1],), FIRST_STEP)
    steps = []
    moves = [temperatures[1]] * PILOT_ROUNDS + temperatures[1:T]
    for number, temperature in enumerate(moves):
        state, probability, _ = _move(bridge, state, temperature, scale, step, noise(PILOTS, start.shape[2] + 1))
        step = step * (GAIN * (probability.mean(0) - ACCEPTANCE)).exp().to(step.dtype)
        if number >= PILOT_ROUNDS:
            steps.append(step)
    return Tuning(scale, torch.stack(steps) if steps else step.new_empty(0, len(step)))


def forward(bridge: Bridge, tuning: Tuning, noise: Tensor, noise_size: int) -> Annealed:
    """Anneal from the posterior to the joint density; the mean of the weights is an unbiased estimate of p(x).

    Arguments:
        noise: (C, B, noise_per_chain) normal numbers.
    """
    start, moves = noise.split((noise_size + 1, noise.shape[-1] - noise_size - 1), dim=-1)
    return _anneal(bridge, bridge.start(start), schedule(len(tuning.steps) + 1), tuning, moves)


def reverse(bridge: Bridge, tuning: Tuning, exact: Tensor, noise: Tensor, noise_size: int) -> Annealed:
    """Anneal from an exact sample of p(u | x) back to the posterior; the mean of the weights is an unbiased estimate of 1 / p(x).

    These are the moves of `forward` in the reverse order, each of which is its own reversal (Grosse et al., 2015).

    Arguments:
        exact: (B, U), the coordinates that x was simulated from; all chains of a point start there.
        noise: As for `forward`; the numbers of the start are not used.
    """
    tuning = Tuning(tuning.scale, tuning.steps.flip(0))
    temperatures = schedule(len(tuning.steps) + 1)[::-1]
    return _anneal(bridge, exact.expand(len(noise), *exact.shape), temperatures, tuning, noise[..., noise_size + 1 :])


def _anneal(bridge: Bridge, start: Tensor, temperatures: list[float], tuning: Tuning, noise: Tensor) -> Annealed:
    state = _evaluated(bridge, start)
    log_weights = torch.zeros_like(state.log_base)
    accepted = torch.zeros_like(log_weights)
    moves = noise.unflatten(-1, (len(tuning.steps), start.shape[-1] + 1)).unbind(2) if len(tuning.steps) else ()
    for t, (here, there) in enumerate(pairwise(temperatures)):
        log_weights += (there - here) * (state.log_joint - state.log_base)
        if t < len(moves):
            state, _, taken = _move(bridge, state, there, tuning.scale, tuning.steps[t], moves[t])
            accepted += taken
    return Annealed(log_weights, accepted / max(1, len(moves)))


def _evaluated(bridge: Bridge, u: Tensor) -> _State:
    u = u.detach().requires_grad_()
    with torch.enable_grad():
        densities = bridge.log_base(u), bridge.log_joint(u)
        gradients = [torch.autograd.grad(density.sum(), u)[0] for density in densities]
    return _State(u.detach(), *(density.detach() for density in densities), *gradients)


def _move(
    bridge: Bridge, state: _State, temperature: float, scale: Tensor, step: Tensor, noise: Tensor
) -> tuple[_State, Tensor, Tensor]:
    """Return the state after one HMC move that leaves f_t invariant, the probabilities of acceptance, and what was accepted.

    Arguments:
        scale: (B, U); step: (B,). Each coordinate moves by its scale times the step size.
        noise: (C, B, U + 1), the momentum, and a number that decides about acceptance.
    """
    momentum, decision = noise[..., :-1], noise[..., -1]
    stride = step[:, None] * scale
    start = state.log_density(temperature) - 0.5 * momentum.double().square().sum(-1)
    new = state
    momentum = momentum + 0.5 * stride * new.gradient(temperature)
    for number in range(LEAPFROG_STEPS):
        new = _evaluated(bridge, new.u + stride * momentum)
        part = 1.0 if number < LEAPFROG_STEPS - 1 else 0.5
        momentum = momentum + part * stride * new.gradient(temperature)
    end = new.log_density(temperature) - 0.5 * momentum.double().square().sum(-1)
    # a proposal that overflowed is not taken
    probability = (end - start).nan_to_num(-math.inf, math.inf, -math.inf).clamp(max=0).exp()
    taken = torch.special.ndtr(decision.double()) < probability
    kept = (
        torch.where(taken if old.dim() == 2 else taken[..., None], found, old) for found, old in zip(new, state, strict=True)
    )
    return _State(*kept), probability, taken
