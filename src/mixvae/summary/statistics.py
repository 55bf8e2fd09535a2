"""Computes intervals, tests and ranks, each either over seeds or over test points, never over both."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import stats

BOOTSTRAP_FROM = 5
"""From this many seeds on, the interval is a bootstrap interval; with fewer seeds, it is their range."""
RESAMPLES = 10_000
"""Draws of the test points for intervals of ranks: a probability of one half is then known to half a per cent."""
ELEMENTS = 1 << 21
"""How many numbers the largest array of a chunk of resamples may have."""
TIE = 1e-8
"""Scores that differ by fewer nats than this are a tie, since no sum over test points is that exact."""


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
    """Ranks of C cells, (C,) each: the mean's rank, its 95 % interval over test points, and the probability of being best."""

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

    The seeds of a point are averaged first, so that interval and p are about other test points, for these seeds.
    """
    difference = (a - b).mean(0)
    mean = float(difference.mean())
    if len(difference) < 2:
        return Difference(mean, np.nan, np.nan, np.nan)
    if not np.ptp(difference):
        # the limit as the spread goes to 0; if all differences are 0, nothing speaks against a difference of 0
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
    """Return the least and the greatest rank of C cells, both (..., C), from scores (..., C); the lowest score ranks first.

    They differ only in a tie, where every cell may have any of the places that the tie takes up.
    """
    ahead = scores[..., None, :] - scores[..., :, None]
    return 1 + (ahead < -TIE).sum(-1), (ahead <= TIE).sum(-1)


def ranks_over_seeds(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest rank, both (C,), that C cells have in any of S seeds, from their scores, (S, C)."""
    least, greatest = rank_bounds(scores)
    return least.min(0), greatest.max(0)


def ranks_over_points(values: np.ndarray) -> Ranks:
    """Rank C cells by their means over N test points, (C, N), lowest first, with a percentile bootstrap over the points.

    Every resample draws the same points for all cells, so that a point that is hard for all cells does not tell them apart.
    Cells in a tie for the first place share the probability of being best; the rank of a tie is its least. One point gives NaN.

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

    A chunk is the product of the multinomial counts of how often each point was drawn, (R, N), with the values, (C, N).
    """
    cells, points = values.shape
    chunk = max(1, ELEMENTS // max(points, cells**2))
    for start in range(0, resamples, chunk):
        size = (min(chunk, resamples - start), points)
        # the counts that rng.multinomial would draw, in a twentieth of the time; each resample has bins of its own
        drawn = rng.integers(points, size=size) + points * np.arange(size[0])[:, None]
        yield np.bincount(drawn.ravel(), minlength=drawn.size).reshape(size) @ values.T / points
