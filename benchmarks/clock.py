"""Timing: sides that take turns, so that their ratios come from the same moments of a machine that others use, too."""

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch

Side = Callable[[], list[float]]
"""Takes a turn and returns the seconds of each repetition in it."""

TURN = 0.2
"""Seconds that a turn of many short repetitions takes."""
STRIDE = {"cpu": 1, "cuda": 10}
"""Repetitions between two readings of the clock: to wait for a GPU after each would be a part of it."""
LEAST_ROUNDS, MOST_ROUNDS = 3, 25


class Middle(NamedTuple):
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float


def middle(values: list[float]) -> Middle:
    """Return the median and the quartiles of some values."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * values
    return Middle(median, low, high)


def take_turns(sides: Mapping[str, Side], seconds: float) -> dict[str, list[float]]:
    """Let every side take one turn per round, A B C A B C ..., and return each round's medians, in seconds.

    Arguments:
        seconds: Rounds start until so much time has passed, but at least three.
    """
    rounds: dict[str, list[float]] = {name: [] for name in sides}
    end = time.perf_counter() + seconds
    for number in range(MOST_ROUNDS):
        if number >= LEAST_ROUNDS and time.perf_counter() > end:
            break
        for name, side in sides.items():
            rounds[name].append(statistics.median(side()))
    return rounds


def ratio(above: list[float], below: list[float]) -> Middle:
    """Return the ratio of two sides, round by round."""
    return middle([a / b for a, b in zip(above, below, strict=True)])


def repeated(function: Callable[[], object], device: torch.device) -> Side:
    """Return a side that calls `function` as often as fits into a turn; called once here, which says how often, and warms it up."""
    stride = STRIDE[device.type]

    def reading() -> float:
        return once(lambda: [function() for _ in range(stride)], device) / stride

    seconds = stride * reading()
    return lambda: [reading() for _ in range(repetitions(seconds))]


def repetitions(seconds: float) -> int:
    """Return how many repetitions of so many seconds a turn has."""
    return max(1, min(20, int(TURN / seconds)))


def once(function: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of one call."""
    synchronise(device)
    start = time.perf_counter()
    function()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what the library says about its progress, which it writes past sys.stderr, from between the tables."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
