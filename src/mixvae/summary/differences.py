"""Computes paired differences of likelihoods between a K and a smaller K of the same column."""

import itertools
from functools import lru_cache

import numpy as np
import pandas as pd

from mixvae.study.metrics import BITS, factor, made_from
from mixvae.summary.cells import COMPARABLE, ORIGIN, Sources, likelihoods, origin
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
    if its sides have no seed in common among the complete runs, or if its runs were evaluated on different points.
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
        if len({which for which, _ in itertools.chain(*points)}) == 1:
            compared.append((groups[K, key], groups[against, key], points))
    smaller, rows = next_smaller(groups), []
    order = list(dict.fromkeys(group.key for group in groups.values()))
    compared.sort(key=lambda three: order.index(three[0].key))
    for name, (ours, theirs, points) in itertools.product(likelihoods(info), compared):
        if name.removesuffix(BITS) not in COMPARABLE:
            continue
        a, b = (factor(name, info) * np.stack([values[made_from(name)] for _, values in side]) for side in points)
        row = {
            "metric": name,
            "column": ours.column,
            "K": ours.K,
            "against": theirs.K,
            "step": smaller[ours.K, ours.key] == theirs.K,
            "measure": ours.spec.likelihood.measure,
            "points": a.shape[1],
            "seeds": len(a),
            "unreliable": any(sources.unreliable(side.runs, name) for side in (ours, theirs)),
            "stopped_by_budget": sources.stopped([*ours.runs, *theirs.runs]),
        }
        row |= zip(("delta", "low", "high", "p"), paired(a, b), strict=True)
        if len(a) > 1:
            row |= zip(("seed_low", "seed_high", "seed_kind"), over_seeds((a - b).mean(1))[2:], strict=True)
        rows.append(row | origin(ours.key, name, info, ours.runs, theirs.runs))
    return pd.DataFrame(rows, columns=COLUMNS)
