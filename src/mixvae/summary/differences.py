"""Computes paired differences of likelihoods between a K and a smaller K of the same column."""

import itertools
from functools import lru_cache

import numpy as np
import pandas as pd

from mixvae.study.metrics import BITS, factor, made_from
from mixvae.summary.cells import COMPARABLE, ORIGIN, Pointwise, Sources, likelihoods, origin
from mixvae.summary.groups import next_smaller, pairs
from mixvae.summary.statistics import over_seeds, paired

COLUMNS = [
    "metric", "column", "K", "against", "step", "measure", "delta", "low", "high", "p", "p_adjusted", "points", "seeds",
    "seed_low", "seed_high", "seed_kind", "unreliable", "stopped_by_budget", *ORIGIN,
]  # fmt: skip


@lru_cache(maxsize=1)  # the tables of likelihoods and of differences share them
def differences(sources: Sources) -> pd.DataFrame:
    """Return the paired differences, a row per comparable likelihood and one of `pairs`, with COLUMNS but for p_adjusted.

    `delta` has an interval, low to high, and p over test points. seed_low, seed_high and seed_kind are the interval over the
    mean differences of the seeds; one seed has none. `step` says whether the smaller K is the next smaller. A pair has no row
    if its sides have no seed in common among the complete runs, and none for a likelihood that not all of its runs have, or that
    was measured on different points: no row compares two estimators.
    """
    groups, info = sources.groups, sources.info
    compared = []
    for K, against, key in pairs(groups):
        sides = [
            {sources.study.runs[run].seed: run for run in groups[side, key].runs if run not in sources.missing}
            for side in (K, against)
        ]
        seeds = sorted(sides[0].keys() & sides[1].keys())
        points = [[sources.pointwise(side[seed]) for seed in seeds] for side in sides]
        if seeds:
            compared.append((groups[K, key], groups[against, key], points))
    smaller, rows = next_smaller(groups), []
    order = list(dict.fromkeys(group.key for group in groups.values()))
    compared.sort(key=lambda three: order.index(three[0].key))
    for name, (ours, theirs, points) in itertools.product(likelihoods(info), compared):
        found = [[run.get(made_from(name)) for run in side] for side in points]
        if name.removesuffix(BITS) not in COMPARABLE or not _comparable(found):
            continue
        a, b = (factor(name, info) * np.stack([run.values for run in side]) for side in found)
        row = {
            "metric": name,
            "column": ours.column,
            "K": ours.K,
            "against": theirs.K,
            "step": smaller[ours.K, ours.key] == theirs.K,
            "measure": ours.spec.likelihood.measure,
            "points": a.shape[1],
            "seeds": len(a),
            "unreliable": sources.unreliable(ours.runs, name, theirs.runs),
            "stopped_by_budget": sources.stopped([*ours.runs, *theirs.runs]),
        }
        row |= zip(("delta", "low", "high", "p"), paired(a, b), strict=True)
        if len(a) > 1:
            row |= zip(("seed_low", "seed_high", "seed_kind"), over_seeds((a - b).mean(1))[2:], strict=True)
        rows.append(row | origin(ours.key, name, info, ours.runs, theirs.runs))
    return pd.DataFrame(rows, columns=COLUMNS)


def _comparable(sides: list[list[Pointwise | None]]) -> bool:
    """Return whether all runs of both sides have values, at the same points."""
    which = {run and run.which for run in itertools.chain(*sides)}
    return len(which) == 1 and None not in which
