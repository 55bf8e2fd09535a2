"""Intervals, tests and ranks with known answers."""

import gc

import numpy as np
import pytest
from scipy import stats

from mixvae.summary import statistics
from mixvae.summary.statistics import (
    holm,
    over_seeds,
    paired,
    rank_bounds,
    ranks_over_points,
    ranks_over_seeds,
    resampled_means,
)


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


def test_paired_p_is_that_of_the_paired_t_test():
    rng = np.random.default_rng(1)
    a, b = rng.exponential(3.0, (2, 80)), rng.exponential(3.1, (2, 80))
    assert paired(a[:1], b[:1]).p == pytest.approx(stats.ttest_rel(a[0], b[0]).pvalue)
    # seeds are averaged: they are no further points, so the same seed twice proves no more than once
    assert paired(a, b).p == pytest.approx(stats.ttest_rel(a.mean(0), b.mean(0)).pvalue)
    assert paired(np.tile(a[:1], (5, 1)), np.tile(b[:1], (5, 1))) == pytest.approx(paired(a[:1], b[:1]))


def test_differences_without_a_spread_and_of_one_point():
    a = np.arange(12.0).reshape(2, 6)
    assert paired(a, a) == (0.0, 0.0, 0.0, 1.0)
    assert paired(a + 0.5, a) == (0.5, 0.5, 0.5, 0.0)
    one = paired(a[:, :1] + 0.5, a[:, :1])
    assert one.mean == 0.5
    assert np.isnan(one[1:]).all()
    assert np.isnan(paired(a, np.where(a == 3, np.nan, a))).all()


def test_holm_by_hand():
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 and never below the one before: 0.02, 0.03, 0.06, 0.06
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.6, 0.7])), [1.0, 1.0])
    # what is no test neither counts nor is judged
    np.testing.assert_allclose(holm(np.array([0.01, np.nan, 0.04])), [0.02, np.nan, 0.04])
    assert np.isnan(holm(np.array([np.nan]))).all()
    assert len(holm(np.array([]))) == 0


def test_paired_interval_covers_and_has_the_power_of_the_t_test():
    rng = np.random.default_rng(0)
    points, shift, repeats = 40, 0.4, 1000
    difficulty = rng.normal(100, 20, (repeats, points))
    noise = rng.normal(0, 1, (repeats, points))
    results = [paired((d + shift + n)[None], d[None]) for d, n in zip(difficulty, noise, strict=True)]
    covered = np.mean([result.low <= shift <= result.high for result in results])
    assert covered == pytest.approx(0.95, abs=0.021)  # three standard errors
    beyond, centre = stats.t.ppf(0.975, points - 1), shift * np.sqrt(points)
    power = stats.nct.sf(beyond, points - 1, centre) + stats.nct.cdf(-beyond, points - 1, centre)
    assert 0.6 < power < 0.8
    assert np.mean([result.p < 0.05 for result in results]) == pytest.approx(power, abs=0.045)
    # the interval leaves out 0 just when the test rejects
    assert all((result.p < 0.05) == (result.low > 0 or result.high < 0) for result in results)


def test_under_the_null_holm_keeps_the_chance_of_any_false_verdict(monkeypatch):
    monkeypatch.setattr(gc, "collect", lambda: 0)  # statsmodels does at every call, which takes longer than all else
    rng = np.random.default_rng(0)
    repeats, tests, points = 300, 12, 30
    any_raw = any_adjusted = 0
    for _ in range(repeats):
        single = rng.normal(size=(1, points))  # one baseline for all, as K = 1 is
        p = np.array([paired(rng.normal(size=(1, points)), single).p for _ in range(tests)])
        any_raw += (p < 0.05).any()
        any_adjusted += (holm(p) < 0.05).any()
    assert any_raw / repeats > 0.2
    assert any_adjusted / repeats < 0.05 + 3 * np.sqrt(0.05 * 0.95 / repeats)
    assert any_adjusted > 0


def test_intervals_over_seeds_and_over_points_do_not_mix():
    rng = np.random.default_rng(0)
    zero = np.zeros((3, 200))
    only_seeds = zero + np.array([[-1.0], [0.0], [4.0]])
    assert paired(only_seeds, zero)[:3] == (1.0, 1.0, 1.0)
    assert over_seeds((only_seeds - zero).mean(1)) == (1.0, pytest.approx(np.sqrt(7)), -1.0, 4.0, "min-max")
    only_points = zero + rng.normal(1.0, 2.0, 200)
    over_points, again = paired(only_points, zero), over_seeds((only_points - zero).mean(1))
    assert over_points.high - over_points.low == pytest.approx(
        2 * stats.t.ppf(0.975, 199) * only_points[0].std(ddof=1) / 200**0.5
    )
    assert (again.low, again.high) == pytest.approx((over_points.mean, over_points.mean))
    assert again.sd == pytest.approx(0, abs=1e-12)
    # of two cells that change places from seed to seed, but are as far apart at every point
    cells = np.array([only_seeds, zero + 0.5])
    assert [list(bound) for bound in ranks_over_seeds(cells.mean(2).T)] == [[1, 1], [2, 2]]
    found = ranks_over_points(cells.mean(1))
    assert (list(found.low), list(found.high)) == ([2, 1], [2, 1])


def test_ranks_of_a_tie_are_all_its_places():
    least, greatest = rank_bounds(np.array([3.0, 1.0, 3.0 + 1e-12, 7.0]))
    assert list(least) == [2, 1, 2, 4]
    assert list(greatest) == [3, 1, 3, 4]
    stacked = rank_bounds(np.array([[3.0, 1.0], [1.0, 3.0]]))
    assert [bound.tolist() for bound in stacked] == [[[2, 1], [1, 2]]] * 2


def test_identical_cells_are_not_told_apart():
    values = np.random.default_rng(0).normal(100, 5, 300)
    found = ranks_over_points(np.array([values] * 3))
    assert list(found.rank) == list(found.low) == [1, 1, 1]
    assert list(found.high) == [3, 3, 3]
    assert found.best == pytest.approx(np.full(3, 1 / 3))


def test_cells_far_apart_have_one_rank_whatever_the_points():
    rng = np.random.default_rng(0)
    difficulty = rng.normal(100, 50, 300)  # the spread of the points is no doubt about the order
    found = ranks_over_points(np.array([difficulty + shift + rng.normal(0, 0.1, 300) for shift in (2, 0, 1)]))
    for ranks in (found.rank, found.low, found.high):
        assert list(ranks) == [3, 1, 2]
    assert list(found.best) == [0, 1, 0]


def test_probability_of_being_best_is_near_the_normal_one():
    rng = np.random.default_rng(0)
    values = rng.normal(50, 10, 400) + rng.normal(0, 1, (2, 400))
    difference = values[0] - values[1]
    difference += 0.04 - difference.mean()
    values[0] = values[1] + difference
    expected = stats.norm.sf(0.04 / (difference.std() / 20))
    assert 0.2 < expected < 0.35
    found = ranks_over_points(values)
    assert found.best[1] == pytest.approx(1 - expected, abs=0.015)
    assert found.best.sum() == pytest.approx(1)
    assert (list(found.rank), list(found.low), list(found.high)) == ([2, 1], [1, 1], [2, 2])


def test_the_bootstrap_is_a_loop_over_the_same_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "ELEMENTS", 50 * 20)
    values = np.random.default_rng(0).normal(size=(3, 50))
    chunks = list(resampled_means(values, 70, np.random.default_rng(5)))
    assert [len(chunk) for chunk in chunks] == [20, 20, 20, 10]
    rng, expected = np.random.default_rng(5), []
    for size in (20, 20, 20, 10):
        expected += [values[:, which].mean(1) for which in rng.integers(50, size=(size, 50))]
    np.testing.assert_allclose(np.concatenate(chunks), expected)
    np.testing.assert_allclose(np.var(expected, axis=0), values.var(1) / 50, rtol=0.4)
    monkeypatch.setattr(statistics, "RESAMPLES", 70)
    monkeypatch.setattr(statistics.np.random, "default_rng", lambda _: np.random.Generator(np.random.PCG64(5)))
    best = np.argmin(expected, axis=1)
    found = ranks_over_points(values)
    np.testing.assert_allclose(found.best, [np.mean(best == cell) for cell in range(3)])
    places = np.argsort(np.argsort(expected, axis=1), axis=1) + 1
    np.testing.assert_array_equal(found.low, np.sort(places, axis=0)[1])  # 0.025 x 70 = 1.75, so the second
    np.testing.assert_array_equal(found.high, np.sort(places, axis=0)[68])  # 0.975 x 70 = 68.25, so the sixty-ninth


def test_one_point_gives_a_rank_without_an_interval():
    found = ranks_over_points(np.array([[2.0], [1.0]]))
    assert list(found.rank) == [2, 1]
    assert np.isnan([found.low, found.high, found.best]).all()
