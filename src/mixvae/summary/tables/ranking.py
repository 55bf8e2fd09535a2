"""Table ranking: the groups of runs ranked by their likelihoods, with the uncertainty of each rank."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mixvae.study.metrics import factor, made_from
from mixvae.summary.cells import COMPARABLE, LIKELIHOODS, ORIGIN, Group, Sources, origin, pointwise
from mixvae.summary.rendering import COLUMNS_NOTE, MARKS_NOTE, Entry, Grid, between, label, marks, whole
from mixvae.summary.statistics import RESAMPLES, ranks_over_points, ranks_over_seeds

TITLE = "all K and columns ranked"
ROWS = ("column", "metric", "K")
WHOLE = ["rank", "K", "rank_low", "rank_high", "seed_rank_low", "seed_rank_high", "seeds", "points"]
COLUMNS = [
    "metric", "measure", "rank", "K", "column", "mean", "rank_low", "rank_high", "probability_best",
    "seed_rank_low", "seed_rank_high", "seeds", "points", "unreliable", "stopped_by_budget", *ORIGIN,
]  # fmt: skip

NOTE = """\
Every K and column ranked by its mean over test points and seeds, the lowest first; nats per test point. Cells in a tie share the
least rank.{measures}
{columns}
{marks}

- 95 % over points: interval of the rank over {resamples} resamples of the test points, the same points for all cells and the seeds
  averaged first. It is of one cell alone, and tends to be too narrow among cells that are hardly apart.
- P(best): share of the resamples in which the cell has the lowest mean.
- over seeds: least and greatest rank in any one seed, of those that all cells have.
- What neither the interval over points nor P(best) says: how the ranks would come out had all been trained again. They are about other
  test points, for the models trained here; one or two seeds tell next to nothing of that.
{left_out}"""


class Scores(NamedTuple):
    """The likelihoods that a group of runs is ranked by.

    which: The identity of the test points, see `cells.pointwise`; None if its runs were evaluated on different ones.
    points: By metric, the mean over seeds at each of N test points, (N,).
    seeds: By metric and seed, the mean over test points.
    """

    group: Group
    which: tuple[int, str | None] | None
    points: dict[str, np.ndarray]
    seeds: dict[str, dict[int, float]]


def make(sources: Sources) -> pd.DataFrame:
    """Return one row per comparable likelihood and group of runs, best first, with COLUMNS.

    Groups are ranked only if they were evaluated on the test points that most groups have. Likelihoods of different things,
    such as counts and real numbers, are ranked separately.
    """
    scores = [_scores(sources, group) for group in sources.groups.values()]
    agreed = Counter(score.which for score in scores if score and score.which)
    # if two sets of points have as many groups, the larger set is chosen
    shared = max(agreed, key=lambda which: (agreed[which], which[0]), default=None)
    measures: dict[str, list[Scores]] = {}
    for score in scores:
        if score and score.which and score.which == shared:
            measures.setdefault(score.group.spec.likelihood.measure, []).append(score)
    rows = [
        row
        for name in COMPARABLE
        for members in measures.values()
        for row in sorted(_ranked(name, members, sources), key=lambda row: row["rank"])
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(WHOLE, "Int64"))


def _scores(sources: Sources, group: Group) -> Scores | None:
    found = {sources.study.runs[run].seed: pointwise(sources.runs / run) for run in group.runs if run not in sources.missing}
    which = {points for points, _ in found.values()}
    if len(which) != 1:
        return Scores(group, None, {}, {}) if which else None
    by_metric = {name: {seed: values[name] for seed, (_, values) in found.items()} for name in map(made_from, LIKELIHOODS)}
    return Scores(
        group,
        which.pop(),
        {metric: np.mean(list(values.values()), axis=0) for metric, values in by_metric.items()},
        {metric: {seed: float(array.mean()) for seed, array in values.items()} for metric, values in by_metric.items()},
    )


def _ranked(name: str, members: list[Scores], sources: Sources) -> Iterator[dict[str, Any]]:
    """Yield the rows of groups whose likelihoods compare."""
    metric, scale = made_from(name), factor(name, sources.info)
    values = scale * np.stack([score.points[metric] for score in members])
    found = ranks_over_points(values)
    common = sorted(set.intersection(*(set(score.seeds[metric]) for score in members)))
    seed_low = seed_high = np.full(len(members), np.nan)
    if len(common) > 1:
        seed_low, seed_high = ranks_over_seeds(
            scale * np.array([[score.seeds[metric][seed] for score in members] for seed in common])
        )
    for number, score in enumerate(members):
        group = score.group
        yield {
            "metric": name,
            "measure": group.spec.likelihood.measure,
            "rank": found.rank[number],
            "K": group.K,
            "column": group.column,
            "mean": values[number].mean(),
            "rank_low": found.low[number],
            "rank_high": found.high[number],
            "probability_best": found.best[number],
            "seed_rank_low": seed_low[number],
            "seed_rank_high": seed_high[number],
            "seeds": len(score.seeds[metric]),
            "points": values.shape[1],
            "unreliable": sources.unreliable(group.runs, name),
            "stopped_by_budget": sources.stopped(group.runs),
            **origin(group.key, name, sources.info, group.runs),
        }


def left_out(frame: pd.DataFrame, sources: Sources) -> list[str]:
    """Return sentences that say which groups are not ranked, or by fewer seeds than the rest, and why."""
    seeds = {(K, key): count for K, key, count in zip(frame.K, frame.group, frame.seeds, strict=True)}
    out = [group for cell, group in sources.groups.items() if cell not in seeds]
    gone = [group.text for group in out if set(group.runs) <= set(sources.missing)]
    other = [group.text for group in out if not set(group.runs) <= set(sources.missing)]
    fewer = [group.text for cell, group in sources.groups.items() if cell in seeds and seeds[cell] < max(seeds.values())]
    lines = {
        "Not ranked, since runs are missing, see failures.csv": gone,
        "Not ranked, since evaluated on other test points than the rest": other,
        "Ranked by fewer seeds than the rest": fewer,
    }
    return [f"{reason}: {'; '.join(texts)}." for reason, texts in lines.items() if texts]


def grids(frame: pd.DataFrame) -> list[Grid]:
    """Return the table laid out; its column `of` names the measure and is left out if there is only one."""
    headers = ["metric", "of", "rank", "K", "column", "mean", "95 % over points", "P(best)", "over seeds", "seeds", "points"]
    rows = [_entries(row) for row in frame.to_dict("records")]
    if frame.measure.nunique() < 2:
        headers, rows = [headers[0], *headers[2:]], [[row[0], *row[2:]] for row in rows]
    return [Grid(headers, rows)]


def _entries(row: Mapping[str, Any]) -> list[Entry]:
    best = row["probability_best"]
    return [
        label(row["metric"]),
        label(row["measure"]),
        whole(row["rank"]),
        whole(row["K"]),
        label(row["column"]),
        Entry(f"{row['mean']:.3f}", marks(row), order=row["mean"], cell=row),
        between(row["rank_low"], row["rank_high"], "{:.0f} to {:.0f}"),
        Entry("") if pd.isna(best) else Entry(f"{best:.2f}", order=best),
        between(row["seed_rank_low"], row["seed_rank_high"], "{:.0f} to {:.0f}"),
        whole(row["seeds"]),
        whole(row["points"]),
    ]


def note(frame: pd.DataFrame, sources: Sources) -> str:
    """Return the explanation that stands below the table."""
    several = frame.measure.nunique() > 1
    return NOTE.format(
        measures=f" Likelihoods of {' and of '.join(frame.measure.unique())} do not compare: each has its own ranks." * several,
        columns=COLUMNS_NOTE,
        marks=MARKS_NOTE,
        resamples=f"{RESAMPLES:,}",
        left_out="".join(f"- {line}\n" for line in left_out(frame, sources)),
    )
