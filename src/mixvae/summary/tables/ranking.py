"""Table ranking ranks the groups of runs by their likelihoods, and says how sure each rank is."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from mixvae.study.metrics import factor, made_from
from mixvae.summary.cells import COMPARABLE, ORIGIN, Pointwise, Sources, marked, points_of
from mixvae.summary.groups import Group
from mixvae.summary.rendering import Entry, Grid, listed, marks, numeric
from mixvae.summary.statistics import RESAMPLES, ranks_over_points, ranks_over_seeds
from mixvae.summary.tables.table import Table, reasons

WHOLE = ["rank", "K", "rank_low", "rank_high", "seed_rank_low", "seed_rank_high", "seeds", "points"]
COLUMNS = [
    "metric", "measure", "rank", "K", "column", "mean", "rank_low", "rank_high", "probability_best",
    "seed_rank_low", "seed_rank_high", "seeds", "points", "unreliable", "stopped_by_budget", *ORIGIN,
]  # fmt: skip

NOTE = f"""\
Every K of every column is a cell. Cells are ranked by their means over test points and seeds, in nats per test point; the lowest
ranks first, and cells in a tie share the least rank.{{measures}}

- 95 % over points: interval of the rank over {RESAMPLES:,} resamples of the test points. Each resample has the same points for all
  cells; the seeds of a point are averaged first. The interval is about one cell alone, and tends to be too narrow among cells
  that are hardly apart.
- P(best): share of the resamples in which the cell has the lowest mean.
- over seeds: least and greatest rank of the cell in any one seed, among the seeds that all cells have.
- Neither the interval over points nor P(best) says how the ranks would come out if everything were trained again. They are about
  other test points, for the models trained here. One or two seeds tell next to nothing about training again.
{{columns}}
{{marks}}
{{left_out}}"""

SHOWN = {
    "metric": "metric",
    "of": "measure",
    "rank": "rank",
    "K": "K",
    "column": "column",
    "mean": lambda row: Entry(f"{row['mean']:.3f}", marks(row), order=row["mean"], cell=row),
    "95 % over points": lambda row: numeric("{:.0f} to {:.0f}".format, row["rank_low"], row["rank_high"]),
    "P(best)": lambda row: numeric("{:.2f}".format, row["probability_best"]),
    "over seeds": lambda row: numeric("{:.0f} to {:.0f}".format, row["seed_rank_low"], row["seed_rank_high"]),
    "seeds": "seeds",
    "points": "points",
}

Member = tuple[Group, dict[int, np.ndarray]]
"""A group to rank, and by seed a likelihood at N test points, {seed: (N,)}."""


def make(sources: Sources) -> pd.DataFrame:
    """Return one row per comparable likelihood and group of runs, best first, with COLUMNS.

    Groups are ranked only if all their runs were evaluated on the test points that most groups have. Likelihoods of different
    things, such as counts and real numbers, are ranked separately.
    """
    found = [(group, sources.by_seed(group)) for group in sources.groups.values()]
    rows: list[dict[str, Any]] = []
    for name in COMPARABLE:
        for members in _measures(made_from(name), found).values():
            rows += sorted(_ranked(name, members, sources), key=lambda row: row["rank"])
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(WHOLE, "Int64"))


def _measures(metric: str, found: list[tuple[Group, dict[int, dict[str, Pointwise]]]]) -> dict[str, list[Member]]:
    """Return the groups to rank by a metric, with its values, by what their likelihoods are of."""
    scores = []
    for group, by_seed in found:
        values = {seed: run.get(metric) for seed, run in by_seed.items()}
        if which := points_of(values.values()):
            scores.append((which, group, {seed: run.values for seed, run in values.items()}))
    agreed = Counter(which for which, _, _ in scores)
    # if two sets of points have as many groups, the larger set is chosen
    shared = max(agreed, key=lambda which: (agreed[which], which[0]), default=None)
    measures: dict[str, list[Member]] = {}
    for which, group, by_seed in scores:
        if which == shared:
            measures.setdefault(group.spec.likelihood.measure, []).append((group, by_seed))
    return measures


def _ranked(name: str, members: list[Member], sources: Sources) -> Iterator[dict[str, Any]]:
    """Yield the rows of groups whose likelihoods compare."""
    scale = factor(name, sources.info)
    values = scale * np.stack([np.mean(list(by_seed.values()), axis=0) for _, by_seed in members])
    ranks = ranks_over_points(values)
    common = sorted(set.intersection(*(set(by_seed) for _, by_seed in members)))
    seed_low = seed_high = np.full(len(members), np.nan)
    if len(common) > 1:
        means = [[by_seed[seed].mean() for _, by_seed in members] for seed in common]
        seed_low, seed_high = ranks_over_seeds(scale * np.array(means))
    numbers = values.mean(1), *ranks, seed_low, seed_high
    names = "mean", "rank", "rank_low", "rank_high", "probability_best", "seed_rank_low", "seed_rank_high"
    for (group, by_seed), *found in zip(members, *numbers, strict=True):
        sizes = {"seeds": len(by_seed), "points": values.shape[1]}
        yield marked(sources, group, name) | sizes | dict(zip(names, found, strict=True))


def left_out(frame: pd.DataFrame, sources: Sources) -> str:
    """Return lines that say which groups are not ranked, or by fewer seeds than the rest, and why."""
    seeds = {(K, key): count for K, key, count in zip(frame.K, frame.group, frame.seeds, strict=True)}
    lines: dict[str, list[str]] = {
        "Not ranked, since runs are missing, see failures.csv": [],
        "Not ranked, since evaluated on other test points than the rest": [],
        "Ranked by fewer seeds than the rest": [],
    }
    gone, other, fewer = lines.values()
    for cell, group in sources.groups.items():
        if cell not in seeds:
            (gone if set(group.runs) <= set(sources.missing) else other).append(group.text)
        elif seeds[cell] < max(seeds.values()):
            fewer.append(group.text)
    return reasons(lines)


def facts(frame: pd.DataFrame, sources: Sources) -> dict[str, str]:
    """Return the texts that the note has of these rows."""
    apart = f" Likelihoods of {' and of '.join(frame.measure.unique())} do not compare: each has its own ranks."
    return {"measures": apart if frame.measure.nunique() > 1 else "", "left_out": left_out(frame, sources)}


def grids(frame: pd.DataFrame) -> list[Grid]:
    """Return the table laid out; its column `of` names the measure and is left out if there is only one."""
    several = frame.measure.nunique() > 1
    return [listed(frame, {name: shown for name, shown in SHOWN.items() if several or name != "of"})]


TABLE = Table("all K and columns ranked", make, NOTE, ("column", "metric", "K"), grids, facts)
