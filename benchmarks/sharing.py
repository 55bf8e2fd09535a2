"""How long the MNIST ablation of the Mixture-VAE paper's MLPs takes on one device, by several runs that share it."""

from __future__ import annotations

import itertools
import multiprocessing
import statistics
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch

from benchmarks.cases import MOG, VAMP, Case
from benchmarks.clock import once, quiet
from benchmarks.steps import library_steps
from mixvae.cli import full_precision
from mixvae.training import validate

KS, PRIORS, FLOWS, SEEDS = (1, 2, 3, 4), {"standard": "standard", "mog": MOG, "vamp": VAMP}, ("none", "iaf"), 3
POINTS, VALID, EPOCHS = 50_000, 10_000, 500
"""MNIST's training and validation points, and the epochs of the paper's protocol, all of them: runs that stop early take less."""
STEPS = 20


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
    # the most expensive first, so that all processes are busy to the end
    names = sorted(models, key=lambda name: ("vamp" in name, name), reverse=True)
    runs = min(runs, len(names))
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // runs)
    ready = context.Barrier(runs)
    with ProcessPoolExecutor(runs, context, _begin, (ready, threads)) as pool:
        found = dict(zip(names, pool.map(_epoch, names, itertools.repeat(device.type), itertools.repeat(seconds)), strict=True))
    total = SEEDS * EPOCHS * sum(entry["epoch_s"] for entry in found.values()) / runs
    return {"runs_at_a_time": runs, "threads": threads, "cells": found, "hours": total / 3600}


def _begin(ready: Any, threads: int) -> None:
    torch.set_num_threads(threads)
    full_precision()
    ready.wait()


def _epoch(name: str, on: str, seconds: float) -> dict[str, float]:
    device, case = torch.device(on), cells()[name]
    model, data = case.model(device), case.data()
    steps: list[float] = []
    end = time.perf_counter() + seconds
    while not steps or time.perf_counter() < end:
        steps += library_steps(model, data, case, device, STEPS)
    # a tenth of the validation points, so that it is seconds on a CPU, too
    x = (torch.rand(VALID // 10, case.dimensions, device=device) < 0.5).float()
    with quiet():
        validation = 10 * min(once(lambda: validate(model, x, 1, 0), device) for _ in range(2))
    step = statistics.median(steps)
    return {"step_ms": 1000 * step, "epoch_s": POINTS / case.spec.training.batch_size * step + validation}
