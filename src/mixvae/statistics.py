"""Intervals: over seeds and over test points, never mixed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

BOOTSTRAP_FROM = 5
"""Seeds from which a bootstrap interval is given; below, the range."""


class Spread(NamedTuple):
    """Mean, standard deviation (None for one seed) and an interval over seeds; `kind` names the interval."""

    mean: float
    sd: float | None
    low: float
    high: float
    kind: str


class Difference(NamedTuple):
    """Mean paired difference and its 95 % interval over test points."""

    mean: float
    low: float
    high: float


def over_seeds(values: np.ndarray) -> Spread:
    """Summarise one value per seed, (S,): min-max below five seeds, a 95 % bootstrap interval of the mean from five on."""
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None
    if len(values) < BOOTSTRAP_FROM:
        return Spread(mean, sd, float(np.min(values)), float(np.max(values)), "min-max")
    interval = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    return Spread(mean, sd, float(interval.low), float(interval.high), "95 % bootstrap")


def paired(a: np.ndarray, b: np.ndarray) -> Difference:
    """Return mean(a - b) over test points with its 95 % t-interval, pairing seeds and points.

    Arguments:
        a, b: (S, N), the same S seeds and N test points in the same order.

    The seeds of a point are averaged first: the interval speaks of other test points, given these seeds.
    """
    difference = (a - b).mean(0)
    mean = float(difference.mean())
    if not difference.std():
        return Difference(mean, mean, mean)
    interval = stats.ttest_1samp(difference, 0).confidence_interval(0.95)
    return Difference(mean, float(interval.low), float(interval.high))
