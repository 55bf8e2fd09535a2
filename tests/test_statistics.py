"""Intervals with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mixvae.statistics import over_seeds, paired


def test_few_seeds_give_their_range():
    spread = over_seeds(np.array([3.0, 1.0, 2.0]))
    assert spread == (2.0, 1.0, 1.0, 3.0, "min-max")
    assert over_seeds(np.array([4.0])) == (4.0, None, 4.0, 4.0, "min-max")


def test_five_seeds_give_a_bootstrap_interval_that_covers():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        spread = over_seeds(rng.normal(1.0, 1.0, size=12))
        covered += spread.low <= 1.0 <= spread.high
    assert spread.kind == "95 % bootstrap"
    assert 0.85 <= covered / 200 <= 0.99


def test_paired_difference_is_the_textbook_interval():
    rng = np.random.default_rng(0)
    difficulty = rng.normal(100, 20, size=500)
    b = difficulty + rng.normal(0, 0.1, size=(2, 500))
    a = b - 0.05 + rng.normal(0, 0.3, size=(2, 500))
    result = paired(a, b)
    d = (a - b).mean(0)
    half = stats.t.ppf(0.975, 499) * d.std(ddof=1) / np.sqrt(500)
    assert result.mean == pytest.approx(d.mean())
    assert (result.low, result.high) == pytest.approx((d.mean() - half, d.mean() + half))
    # pairing sees through the spread of the points, which is a hundred times larger
    assert result.high - result.low < 0.1
    assert paired(a, a) == (0.0, 0.0, 0.0, 1.0)
