"""Training steps: the library's own loop, the naive formulation's, and the floor below both."""

import itertools
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import machine
from benchmarks.cases import Case
from benchmarks.clock import STRIDE, Side, middle, once, quiet, ratio, repeated, repetitions, synchronise, take_turns
from benchmarks.floor import floor_of
from benchmarks.naive import naive_of
from mixvae.cluster.costs.operations import flops
from mixvae.data.prepared import Prepared
from mixvae.fitting.training import train


class _Enough(Exception):
    """So many steps have been clocked."""


class _Clock:
    """Takes a checkpoint's place in a training, which asks it after every step: reads the clock, and ends it after enough steps.

    On a GPU it reads the clock after every tenth step, since training does not wait for the device after each.

    Arguments:
        device: Of the training.
        readings, seconds: How many readings to make and how long to go on, at least.
        begin: Called after the first reading, which warms up.
    """

    def __init__(self, device: torch.device, readings: int, seconds: float, begin: Callable[[], object]) -> None:
        self.device, self.readings, self.seconds, self.begin = device, readings, seconds, begin
        self.stride = STRIDE[device.type]
        self.steps = 0
        self.times: list[float] = []

    def load(self) -> None:
        """Start anew."""

    def due(self) -> bool:
        self.steps += 1
        if self.steps % self.stride:
            return False
        synchronise(self.device)
        if not self.times:
            self.begin()
        self.times.append(time.perf_counter())
        if len(self.times) > self.readings and self.times[-1] - self.times[0] >= self.seconds:
            raise _Enough
        return False

    def per_step(self) -> list[float]:
        """Return the seconds of a step, between one reading and the next."""
        return [(after - before) / self.stride for before, after in itertools.pairwise(self.times)]


def library_steps(
    model: nn.Module,
    data: Prepared,
    case: Case,
    device: torch.device,
    readings: int,
    seconds: float = 0.0,
    begin: Callable[[], object] = lambda: None,
) -> list[float]:
    """Return the seconds of steps of the library's training loop, everything in it; see `_Clock` for the arguments."""
    clock = _Clock(device, readings, seconds, begin)
    try:
        with quiet():
            train(model, data, case.spec, device, clock)
    except _Enough:
        return clock.per_step()
    raise RuntimeError(f"{case.name}: training ended before it was clocked")


def library(case: Case, device: torch.device) -> Side:
    """Return a side that trains the library's model."""
    model, data = case.model(device), case.data()
    (seconds,) = library_steps(model, data, case, device, 1)
    return lambda: library_steps(model, data, case, device, repetitions(seconds))


def naive(case: Case, device: torch.device, prior_once: bool = True) -> Side:
    """Return a side that trains the naive formulation; see there for `prior_once`."""
    source = case.model(device)
    spec, model, noise_size = case.spec, naive_of(source), source.noise_size
    model.prior_once = prior_once
    x = torch.from_numpy(case.data().points("train", binary=False)).to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=spec.training.learning_rate)
    model.train()

    def step() -> float:
        batch = x[torch.randint(len(x), (spec.training.batch_size,), device=device)]
        if spec.likelihood.binary:
            batch = torch.bernoulli(batch)
        noise = torch.randn(spec.training.samples, spec.K, len(batch), noise_size, device=device)
        loss = -model.objective(batch, 1.0, noise)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return repeated(step, device)


def forward_and_backward(case: Case, device: torch.device) -> tuple[nn.Module, Any]:
    """Return the library's model and a function that runs it forward and backward on one batch."""
    model = case.model(device).train()
    x = torch.from_numpy(case.data().points("train", binary=False)).to(device)[: case.spec.training.batch_size]
    x = x.round() if case.spec.likelihood.binary else x
    noise = torch.randn(case.spec.training.samples, model.sampled_components, len(x), model.noise_size, device=device)

    def step() -> Tensor:
        model.zero_grad()
        loss = -model.objective(x, 1.0, noise).value.mean()
        loss.backward()
        return loss

    return model, step


def measure(case: Case, device: torch.device, seconds: float, peak: machine.Product) -> dict[str, Any]:
    """Return the milliseconds per step of all sides, their ratios, and the share of the machine's peak.

    Arguments:
        seconds: About how long to measure.
        peak: The product that the machine is fastest at.
    """
    model, step = forward_and_backward(case, device)
    counted = flops(step)
    sides: dict[str, Side] = {
        "library": library(case, device),
        "floor": repeated(floor_of(step, list(model.parameters())), device),
        "peak": repeated(peak[0], device),
    }
    if case.naive:
        sides["naive"] = naive(case, device)
        if case.spec.prior.pseudo_inputs and case.spec.K > 1:
            sides["repeated"] = naive(case, device, prior_once=False)
    once(step, device)
    rounds = take_turns(sides, seconds)
    result: dict[str, Any] = {
        "case": case.name,
        "batch": case.spec.training.batch_size,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "operations": counted,
        "rounds": len(rounds["library"]),
    }
    for name in sides:
        if name != "peak":
            result[f"{name}_ms"] = [1000 * value for value in middle(rounds[name])]
    result["library_over_floor"] = list(ratio(rounds["library"], rounds["floor"]))
    if case.naive:
        result["naive_over_library"] = list(ratio(rounds["naive"], rounds["library"]))
    if "repeated" in sides:
        result["repeated_over_library"] = list(ratio(rounds["repeated"], rounds["library"]))
    at_peak = [turn * counted / peak[1] for turn in rounds["peak"]]
    result["share_of_peak"] = list(ratio(at_peak, rounds["library"]))
    return result
