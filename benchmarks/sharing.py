"""How long the MNIST ablation of the Mixture-VAE paper's MLPs takes on one device, by several runs that share it."""

import heapq
import itertools
import multiprocessing
import statistics
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch

from benchmarks.cases import MOG, VAMP, Case
from benchmarks.clock import once, quiet
from benchmarks.steps import library_steps
from mixvae.fitting.devices import set_numerics
from mixvae.fitting.training import validate

KS, PRIORS, FLOWS, SEEDS = (1, 2, 3, 4), {"standard": "standard", "mog": MOG, "vamp": VAMP}, ("none", "iaf"), 3
POINTS, VALID, EPOCHS = 50_000, 10_000, 500
"""MNIST's training and validation points, and the epochs of the paper's protocol, all of them: runs that stop early take less."""
READINGS, STRIDE = 3, 5
VALIDATED = {"cpu": 10, "cuda": 1}
"""One in so many validation points is looked at, so that it is seconds on a CPU, too."""
PATIENCE = 600
"""Seconds that a process waits for the others."""

_together: Any = None
"""In a process of the pool, where all meet."""


def cells() -> dict[str, Case]:
    """Return the models of the ablation."""
    return {
        f"K{K}-{prior}-{flow}": Case(f"K{K}-{prior}-{flow}", {"K": K, "prior": settings, "flow": flow})
        for K, (prior, settings), flow in itertools.product(KS, PRIORS.items(), FLOWS)
    }


def measure(models: Iterable[str], runs: int, device: torch.device, seconds: float) -> dict[str, Any]:
    """Return the milliseconds of a step and the seconds of an epoch of every model, and the hours of an ablation of them all.

    Arguments:
        models: Names of `cells`.
        runs: How many processes train at the same time, each one model after the other, all on the one device.
        seconds: How long to look at each model.
    """
    names = list(models)
    runs = min(runs, len(names))
    # expensive ones beside cheap ones, and as many at the end as at the beginning: the first ones again
    asked = [name for start in range(STRIDE) for name in names[start::STRIDE]]
    asked += asked[: -len(asked) % runs]
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // runs)
    with ProcessPoolExecutor(runs, context, _begin, (context.Barrier(runs), threads)) as pool:
        entries = pool.map(_epoch, asked, itertools.repeat(device.type), itertools.repeat(seconds))
        found = dict(zip(asked, entries, strict=True))
    trainings = [EPOCHS * entry["epoch_s"] / 3600 for entry in found.values()] * SEEDS
    return {
        "runs_at_a_time": runs,
        "threads": threads,
        "cells": found,
        "hours": sum(trainings) / runs,
        "hours_to_the_last": makespan(sorted(trainings, reverse=True), runs),
    }


def makespan(hours: Iterable[float], runs: int) -> float:
    """Return when the last of these ends, each begun in turn as soon as one of so many places is free.

    It leaves out that the last ones have the device to themselves.
    """
    free = [0.0] * runs
    for each in hours:
        heapq.heapreplace(free, free[0] + each)
    return max(free)


def _begin(together: Any, threads: int) -> None:
    global _together
    _together = together
    torch.set_num_threads(threads)
    set_numerics()


def _meet() -> None:
    _together.wait(PATIENCE)


def _epoch(name: str, on: str, seconds: float) -> dict[str, float]:
    """Measure a model while every process of the pool measures one."""
    device, case = torch.device(on), cells()[name]
    model, data = case.model(device), case.data()
    x = (torch.rand(VALID // VALIDATED[on], case.dimensions, device=device) < 0.5).float()
    try:
        steps = library_steps(model, data, case, device, READINGS, seconds, _meet)
        _meet()
    except Exception:
        # or the others would wait for it
        _together.abort()
        raise
    with quiet():
        validation = VALIDATED[on] * min(once(lambda: validate(model, x, 1, 0), device) for _ in range(2))
    step = statistics.median(steps)
    return {"step_ms": 1000 * step, "epoch_s": POINTS / case.spec.training.batch_size * step + validation}
