"""Annealed importance sampling at its default settings: seconds per point, beside plain sampling with 5,000 samples per component."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import Case
from benchmarks.clock import middle, once, quiet, ratio, take_turns
from benchmarks.evaluations import points_of
from mixvae.measuring.bracket import Bracket, Points
from mixvae.measuring.chunks import Unfinished
from mixvae.measuring.evaluation import evaluate
from mixvae.study.parts import Annealing

POINTS, DEEP_POINTS, SAMPLES = 16, 1, 5000
"""Points, those of a model whose samples pass through many feature maps, and samples per component of plain sampling."""


def measure(case: Case, device: torch.device, seconds: float) -> dict[str, Any]:
    """Return the seconds per point of both estimates, and the ratio of annealing to plain sampling."""
    n, settings = DEEP_POINTS if case.spec.decoder.for_images else POINTS, Annealing()
    model = case.model(device)
    x = points_of(case, n, device).cpu()
    points = Points(x, x, torch.arange(n))

    def annealed() -> list[float]:
        with quiet(), tempfile.TemporaryDirectory() as folder, torch.no_grad():
            of = Bracket(model, settings, 0, Unfinished(Path(folder), "bench"))
            return [once(lambda: of.annealed("annealing", points, settings.temperatures), device) / n]

    def plain() -> list[float]:
        with quiet():
            return [once(lambda: evaluate(model, x, SAMPLES, 0), device) / n]

    rounds = take_turns({"annealed": annealed, "plain": plain}, seconds)
    of_annealing, of_plain = (middle(rounds[name]) for name in ("annealed", "plain"))
    both = ratio(rounds["annealed"], rounds["plain"])
    return {"case": case.name, "annealed_s": list(of_annealing), "plain_s": list(of_plain), "annealed_over_plain": list(both)}
