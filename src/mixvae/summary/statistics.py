"""Intervals, tests and ranks: over seeds and over test points, never mixed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import stats

BOOTSTRAP_FROM = 5
"""Seeds from which a bootstrap interval is given; below, the range."""
RESAMPLES = 10_000
"""Draws of the test points for intervals of ranks: a probability of one half is then known to half a per cent."""
ELEMENTS = 1 << 21
"""Numbers in the widest array of a chunk of resamples."""
TIE = 1e-8
"""Nats that no sum of test points is exact to, so that what is closer is a tie."""


class Spread(NamedTuple):
    """Mean, standard deviation (None for one seed) and an interval over seeds; `kind` names the interval."""

    mean: float
    sd: float | None
    low: float
    high: float
    kind: str


class Difference(NamedTuple):
    """Mean paired difference with its 95 % interval over test points, and p of its being 0; NaN where one point gives none."""

    mean: float
    low: float
    high: float
    p: float


class Ranks(NamedTuple):
    """Ranks of C cells, each (C,): of their means, their 95 % interval over test points, and the probability of being best."""

    rank: np.ndarray
    low: np.ndarray
    high: np.ndarray
    best: np.ndarray


def over_seeds(values: np.ndarray) -> Spread:
    """Summarise one value per seed, (S,): min-max below five seeds, a 95 % bootstrap interval of the mean from five on."""
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None
    if len(values) < BOOTSTRAP_FROM:
        return Spread(mean, sd, float(np.min(values)), float(np.max(values)), "min-max")
    interval = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    return Spread(mean, sd, float(interval.low), float(interval.high), "95 % bootstrap")


def paired(a: np.ndarray, b: np.ndarray) -> Difference:
    """Return mean(a - b) over test points with its 95 % t-interval and the two-sided paired t-test, pairing seeds and points.

    Arguments:
        a, b: (S, N), the same S seeds and N test points in the same order.

    The seeds of a point are averaged first: interval and p speak of other test points, given these seeds.
    """
    difference = (a - b).mean(0)
    mean = float(difference.mean())
    if len(difference) < 2:
        return Difference(mean, np.nan, np.nan, np.nan)
    if not np.ptp(difference):
        # the limit of ever less spread, and where nothing differs at all there is nothing to be shown
        return Difference(mean, mean, mean, 0.0 if mean else 1.0)
    test = stats.ttest_1samp(difference, 0)
    interval = test.confidence_interval(0.95)
    return Difference(mean, float(interval.low), float(interval.high), float(test.pvalue))


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values, (M,), adjusted for one another; NaN stays, and does not count as a test.

    Holm (1979), "A simple sequentially rejective multiple test procedure": the chance of one false verdict or more among those
    below 0.05 is 5 % at most, however the tests depend on each other.
    """
    from statsmodels.stats.multitest import multipletests

    tests, adjusted = ~np.isnan(p), np.full(len(p), np.nan)
    if tests.any():
        adjusted[tests] = multipletests(p[tests], method="holm")[1]
    return adjusted


def rank_bounds(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest rank of C cells, the lowest score first, both (..., C) for (..., C).

    They are the same but in a tie, in which every cell may have any of the places that the tie takes up.
    """
    ahead = scores[..., None, :] - scores[..., :, None]
    return 1 + (ahead < -TIE).sum(-1), (ahead <= TIE).sum(-1)


def ranks_over_seeds(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest rank, both (C,), that C cells have in any of S seeds, from a score of each, (S, C)."""
    least, greatest = rank_bounds(scores)
    return least.min(0), greatest.max(0)


def ranks_over_points(values: np.ndarray) -> Ranks:
    """Rank C cells by their means over N test points, (C, N), lowest first, with a percentile bootstrap over the points.

    Every resample draws the same points for all cells, so that what makes a point hard for all of them tells none apart. The cells
    of a tie share the place at the top, and their rank is the least that the tie takes up. One point has no interval: NaN.

    Goldstein & Spiegelhalter (1996), "League tables and their limitations": each interval is of one cell's rank alone.
    """
    cells, points = values.shape
    rank, _ = rank_bounds(values.mean(1))
    if points < 2:
        return Ranks(rank, *np.full((3, cells), np.nan))
    least, greatest, best = [], [], np.zeros(cells)
    for means in resampled_means(values, RESAMPLES, np.random.default_rng(0)):
        low, high = rank_bounds(means)
        first = low == 1
        best += (first / first.sum(1, keepdims=True)).sum(0)
        least.append(low.astype(np.int32))
        greatest.append(high.astype(np.int32))
    low, high = (
        np.quantile(np.concatenate(ranks), q, axis=0, method="inverted_cdf") for ranks, q in ((least, 0.025), (greatest, 0.975))
    )
    return Ranks(rank, low, high, best / RESAMPLES)


def resampled_means(values: np.ndarray, resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the means of C cells over N points that were drawn with replacement, (R, C) for every chunk of R resamples.

    A chunk is one product of how often each point was drawn, (R, N), which is multinomial, with the values, (C, N).
    """
    cells, points = values.shape
    chunk = max(1, ELEMENTS // max(points, cells**2))
    for start in range(0, resamples, chunk):
        size = (min(chunk, resamples - start), points)
        # as rng.multinomial counts, in a twentieth of the time; each resample has bins of its own
        drawn = rng.integers(points, size=size) + points * np.arange(size[0])[:, None]
        yield np.bincount(drawn.ravel(), minlength=drawn.size).reshape(size) @ values.T / points
