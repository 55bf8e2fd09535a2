"""How time grows: with the number of components in training, with the number of samples in evaluation."""

from dataclasses import replace
from typing import Any

import torch

from benchmarks import steps
from benchmarks.cases import Case
from benchmarks.clock import Side, middle, once, quiet, ratio, take_turns
from benchmarks.evaluations import points_of
from mixvae.measuring.evaluation import evaluate

POINTS, SAMPLES = 40, 640


def in_components(case: Case, device: torch.device, seconds: float) -> dict[str, Any]:
    """Return the milliseconds of a training step at a case's K and at twice as many, and their ratio."""
    K = case.spec.K
    twice = replace(case, name=f"{case.name}, twice", changes={**case.changes, "K": 2 * K})
    return _measured(case, f"K {K} to {2 * K}", steps.library(case, device), steps.library(twice, device), seconds)


def in_samples(case: Case, device: torch.device, seconds: float) -> dict[str, Any]:
    """Return the milliseconds of an evaluation with L samples and with twice as many, and their ratio."""
    model, x = case.model(device), points_of(case, POINTS, device).cpu()

    def turn(samples: int) -> list[float]:
        with quiet():
            return [once(lambda: evaluate(model, x, samples, 0), device)]

    turn(SAMPLES)
    return _measured(case, f"L {SAMPLES} to {2 * SAMPLES}", lambda: turn(SAMPLES), lambda: turn(2 * SAMPLES), seconds)


def _measured(case: Case, grows: str, one: Side, two: Side, seconds: float) -> dict[str, Any]:
    rounds = take_turns({"once": one, "twice": two}, seconds)
    return {
        "case": case.name,
        "grows": grows,
        "once_ms": [1000 * value for value in middle(rounds["once"])],
        "twice_ms": [1000 * value for value in middle(rounds["twice"])],
        "twice_over_once": list(ratio(rounds["twice"], rounds["once"])),
    }
