"""Importance-weighted evaluation: samples per second, and the memory that it needs at its peak."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch

from benchmarks.cases import CASES, Case
from benchmarks.clock import middle, once, quiet, ratio, take_turns
from benchmarks.naive import evaluate as evaluate_naively
from benchmarks.naive import naive_of
from mixvae.measuring.evaluation import evaluate
from mixvae.provenance import peak_memory_mb

POINTS, SAMPLES, NAIVE_SAMPLES = 100, {"cpu": 256, "cuda": 5000}, 16
"""Points, samples per component, and those of the naive formulation, whose time is proportional to their number."""
DEEP_POINTS, DEEP_SAMPLES, DEEP_NAIVE_SAMPLES = 4, {"cpu": 64, "cuda": 1024}, 1
"""Where a sample passes through many feature maps; the naive formulation still takes a full batch of points."""
MEMORY_POINTS = 40


def points_of(case: Case, n: int, device: torch.device) -> torch.Tensor:
    """Return n points as an evaluation sees them."""
    x = torch.from_numpy(case.data().points("train", binary=case.levels is not None and case.shape[0] == 1)[:n])
    return x.to(device)


def measure(case: Case, device: torch.device, seconds: float) -> dict[str, Any]:
    """Return the samples per second of the library and of the naive formulation, of all components together."""
    deep = case.spec.decoder.for_images
    n, samples, naive_samples = (DEEP_POINTS, DEEP_SAMPLES, DEEP_NAIVE_SAMPLES) if deep else (POINTS, SAMPLES, NAIVE_SAMPLES)
    samples = samples[device.type]
    model, x = case.model(device), points_of(case, POINTS, device)

    def library_turn() -> list[float]:
        # the points are moved chunk by chunk, as they are in a study
        with quiet():
            return [once(lambda: evaluate(model, x[:n].cpu(), samples, 0), device) / (n * samples * model.sampled_components)]

    sides = {"library": library_turn}
    if case.naive:
        naive, drawn = naive_of(model), POINTS * naive_samples * model.sampled_components
        sides["naive"] = lambda: [once(lambda: evaluate_naively(naive, x, naive_samples, model.noise_size), device) / drawn]
    library_turn()
    rounds = take_turns(sides, seconds)
    result: dict[str, Any] = {"case": case.name, "samples": samples, "rounds": len(rounds["library"])}
    for name, turns in rounds.items():
        result[f"{name}_samples_per_second"] = [1 / value for value in middle(turns)]
    if case.naive:
        result["naive_over_library"] = list(ratio(rounds["naive"], rounds["library"]))
    return result


def memory(name: str, samples: int, device: str) -> dict[str, Any]:
    """Return the peak memory of evaluating a few points, in a process of its own, before the evaluation and after."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        before, after = pool.submit(_peaks, name, samples, device, torch.get_num_threads()).result()
    return {"case": name, "points": MEMORY_POINTS, "samples": samples, "before_mb": before, "peak_mb": after}


def _peaks(name: str, samples: int, device: str, threads: int) -> tuple[float, float]:
    torch.set_num_threads(threads)
    on, case = torch.device(device), CASES[name]
    model, x = case.model(on), points_of(case, MEMORY_POINTS, on)
    before = peak_mb(on)
    with quiet():
        evaluate(model, x.cpu(), samples, 0)
    return before, peak_mb(on)


def peak_mb(device: torch.device) -> float:
    """Return the most memory that this process has held, on the GPU where there is one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_memory_mb()
