"""Table comparisons compares more components with fewer: paired differences of likelihoods, all tests adjusted together."""

import itertools
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from mixvae.study.metrics import BITS, factor, made_from
from mixvae.summary.cells import COMPARABLE, ORIGIN, Sources, likelihoods, marked, points_of
from mixvae.summary.groups import next_smaller, pairs
from mixvae.summary.rendering import Entry, Grid, listed, marks, numeric
from mixvae.summary.statistics import BOOTSTRAP_FROM, holm, over_seeds, paired
from mixvae.summary.tables.table import Table, reasons

COLUMNS = [
    "metric", "column", "K", "against", "step", "measure", "delta", "low", "high", "p", "p_adjusted", "points", "seeds",
    "seed_low", "seed_high", "seed_kind", "unreliable", "stopped_by_budget", *ORIGIN,
]  # fmt: skip
SIGNIFICANCE = 0.05
"""A difference counts as shown if its adjusted p is below this."""
SPREADS = {"min-max": "least and greatest", "95 % bootstrap": "95 % bootstrap interval"}

NOTE = f"""\
Each row compares two K of the same column. Δ is the likelihood of K less that of the smaller K named under "against", in nats
per test point: below 0, more components are better.

- Every K is compared with K = 1, and also with the next smaller K of its column if that is not 1.
- Δ is the mean over the seeds that both K have, and over the test points that both were evaluated on. No run was trained on
  these points.
- 95 % over points: t-interval of that mean over test points, where the seeds of a point are averaged first. It is about its own
  row alone.
- p: two-sided paired t-test over test points, adjusted by Holm for the {{tests}} of this table: all metrics, columns and pairs
  of K together. The verdict goes by p: an interval may leave out 0 although p is not below {SIGNIFICANCE}.
- over seeds: {{over_seeds}}.
- Neither the interval over points nor p says what training again would give. They are about other test points, for the models
  trained here. {{training}}
{{columns}}
{{marks}}
- Here, † and ‡ mean that this holds for at least one of the two K.
{{left_out}}"""

SHOWN = {
    "metric": "metric",
    "column": "column",
    "K": "K",
    "against": "against",
    "Δ": lambda row: Entry(f"{row['delta']:+.3f}", marks(row), order=row["delta"], cell=row, fact="delta"),
    "95 % over points": lambda row: numeric("[{:+.3f}, {:+.3f}]".format, row["low"], row["high"]),
    "p": lambda row: numeric(probability, row["p_adjusted"]),
    "over seeds": lambda row: numeric("[{:+.3f}, {:+.3f}]".format, row["seed_low"], row["seed_high"]),
    "points": "points",
    "seeds": "seeds",
}


@lru_cache(maxsize=1)  # table ablation has these differences, too
def differences(sources: Sources) -> pd.DataFrame:
    """Return the paired differences, a row per comparable likelihood and one of `pairs`, with COLUMNS but for p_adjusted.

    `delta` has an interval, low to high, and p over test points. seed_low, seed_high and seed_kind are the interval over the
    mean differences of the seeds; one seed has none. `step` says whether the smaller K is the next smaller. A pair has no row
    if its sides have no seed in common among the complete runs, and none for a likelihood that not all of its runs have, or that
    was measured on different points: no row compares two estimators.
    """
    groups, info, compared = sources.groups, sources.info, []
    for K, against, key in pairs(groups):
        sides = [sources.by_seed(groups[side, key]) for side in (K, against)]
        seeds = sorted(sides[0].keys() & sides[1].keys())
        compared.append((groups[K, key], groups[against, key], [[side[seed] for seed in seeds] for side in sides]))
    smaller, rows = next_smaller(groups), []
    order = list(dict.fromkeys(group.key for group in groups.values()))
    compared.sort(key=lambda three: order.index(three[0].key))
    for name, (ours, theirs, sides) in itertools.product(likelihoods(info), compared):
        found = [[run.get(made_from(name)) for run in side] for side in sides]
        if name.removesuffix(BITS) not in COMPARABLE or points_of(itertools.chain(*found)) is None:
            continue
        a, b = (factor(name, info) * np.stack([run.values for run in side]) for side in found)
        row = marked(sources, ours, name, theirs.runs) | {
            "against": theirs.K,
            "step": smaller[ours.K, ours.key] == theirs.K,
            "points": a.shape[1],
            "seeds": len(a),
        }
        row |= zip(("delta", "low", "high", "p"), paired(a, b), strict=True)
        if len(a) > 1:
            row |= zip(("seed_low", "seed_high", "seed_kind"), over_seeds((a - b).mean(1))[2:], strict=True)
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def make(sources: Sources) -> pd.DataFrame:
    """Return one row per comparable likelihood and pair of K; Holm adjusts p over all rows as one family."""
    frame = differences(sources)
    frame = frame[frame.metric.isin(COMPARABLE)].reset_index(drop=True)
    return frame.assign(p_adjusted=holm(frame.p.to_numpy(float)))


def left_out(frame: pd.DataFrame, sources: Sources) -> str:
    """Return lines that say which groups are not compared, and why."""
    groups = sources.groups
    if all(K == 1 for K, _ in groups):
        return "- Every run has K = 1, so there is nothing to compare.\n"
    planned, found = pairs(groups), set(zip(frame.K, frame.against, frame.group, strict=True))
    compared = dict.fromkeys(key for _, _, key in planned)
    names = {group.key: group.column for group in groups.values()}
    return reasons(
        {
            "No other K of the same column to compare with": [
                group.text for group in groups.values() if group.K > 1 and group.key not in compared
            ],
            "No K = 1, so that every K is compared with the next smaller one alone": [
                names[key] for key in compared if (1, key) not in groups
            ],
            "Not compared, since runs are missing (failures.csv) or have seen other test points": [
                f"{groups[K, key].text} against {against}" for K, against, key in planned if (K, against, key) not in found
            ],
        }
    )


def verdict(row: Mapping[str, Any]) -> str:
    """Return "better" or "worse" if more components are shown to be better or worse than fewer, else "open"."""
    if pd.isna(row["p_adjusted"]) or row["p_adjusted"] >= SIGNIFICANCE:
        return "open"
    return "better" if row["delta"] < 0 else "worse"


def probability(p: float) -> str:
    """Return how a p-value is printed: "p = 0.012", "p < 0.001", and nothing where there is none."""
    return "" if pd.isna(p) else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def facts(frame: pd.DataFrame, sources: Sources) -> dict[str, str]:
    """Return the texts that the note has of these rows."""
    tests, most = int(frame.p.notna().sum()), max(frame.seeds, default=0)
    training = "The interval over seeds tells that, where there is one."
    if most < BOOTSTRAP_FROM:
        few = "One seed tells" if most < 2 else f"At most {most} seeds, whose range is given, tell"
        training = f"{few} next to nothing about that."
    kinds = " or ".join(SPREADS[kind] for kind in frame.seed_kind.dropna().unique())
    return {
        "tests": f"{tests} comparison{'s' * (tests != 1)}",
        "over_seeds": f"{kinds} of the mean differences of the seeds, over the same test points"
        if kinds
        else "nothing, because there is only one seed",
        "training": training,
        "left_out": left_out(frame, sources),
    }


def grids(frame: pd.DataFrame) -> list[Grid]:
    """Return the table laid out, a row per difference."""
    return [listed(frame, SHOWN)]


TABLE = Table("differences between K", make, NOTE, ("column", "metric", "K", "against"), grids, facts)
