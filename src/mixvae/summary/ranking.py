"""Which K and column is best, and how sure that is: cells ranked by their likelihoods, with the uncertainty of the rank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mixvae.summary.columns import column_names
from mixvae.summary.rendering import COLUMNS_NOTE, MARKS_NOTE, TITLES, commented, latex_table, markdown_table, marks
from mixvae.summary.results import StudyRuns
from mixvae.summary.statistics import RESAMPLES, ranks_over_points, ranks_over_seeds
from mixvae.summary.tables import COMPARABLE, LIKELIHOODS, MEASURES, factor, grouped, marked, pointwise

WHAT = ["metric", "rank", "K", "column", "mean", "rank_low", "rank_high", "probability_best", "seed_rank_low", "seed_rank_high"]
COLUMNS = [*WHAT, "seeds", "points", "unreliable", "stopped_by_budget"]
WHOLE = ["rank", "K", "rank_low", "rank_high", "seed_rank_low", "seed_rank_high", "seeds", "points"]

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


class Cell(NamedTuple):
    """What a cell is ranked by.

    which: The test points, see `tables.pointwise`; None where its runs do not agree on them.
    points: By metric, the mean over seeds of each of N test points, (N,).
    seeds: By metric, the mean over test points of each seed.
    """

    which: tuple[int, str | None] | None
    points: dict[str, np.ndarray]
    seeds: dict[str, dict[int, float]]


def rank(study: StudyRuns, metrics: pd.DataFrame, runs: Path, missing: set[str], dataset: str) -> pd.DataFrame:
    """Return one row per comparable likelihood and cell, best first, with COLUMNS and what the likelihood is of, `measure`.

    Only cells that were evaluated on the same test points are ranked, the points that most cells have; `attrs["left_out"]` names the
    others. Likelihoods of different things, such as counts and real numbers, are ranked apart.
    """
    groups = grouped(study, column_names(study, dataset))
    cells = {key: _cell(study, [run for run in members if run not in missing], runs) for key, members in groups.items()}
    whole = {key: cell.which for key, cell in cells.items() if cell and cell.which}
    # of as many cells, the larger number of points
    shared = max(Counter(whole.values()).items(), key=lambda item: (item[1], item[0][0]), default=(None, 0))[0]
    measures: dict[str, list[tuple[int, str]]] = {}
    for key in (key for key, which in whole.items() if which == shared):
        measures.setdefault(MEASURES[study.runs[groups[key][0]].likelihood.name], []).append(key)
    rows = []
    for block in COMPARABLE:
        scale = factor(block, study.datasets[dataset])
        for measure, keys in measures.items():
            rows += _ranked(block, scale, measure, {key: cells[key] for key in keys})
    frame = pd.DataFrame(rows, columns=[*COLUMNS[:-2], "measure"])
    frame = marked(frame, study, metrics, dataset)[[*COLUMNS, "measure"]].astype(dict.fromkeys(WHOLE, "Int64"))
    frame.attrs["left_out"] = _left_out(cells, shared)
    return frame


def _cell(study: StudyRuns, members: list[str], runs: Path) -> Cell | None:
    if not members:
        return None
    found = {study.runs[run].seed: pointwise(runs / run) for run in members}
    which = {points for points, _ in found.values()}
    if len(which) > 1:
        return Cell(None, {}, {})
    by_metric = {metric: {seed: values[metric] for seed, (_, values) in found.items()} for metric in LIKELIHOODS.values()}
    return Cell(
        which.pop(),
        {metric: np.mean(list(values.values()), axis=0) for metric, values in by_metric.items()},
        {metric: {seed: float(array.mean()) for seed, array in values.items()} for metric, values in by_metric.items()},
    )


def _ranked(block: str, scale: float, measure: str, cells: Mapping[tuple[int, str], Cell]) -> list[dict[str, Any]]:
    metric = LIKELIHOODS[block]
    values = scale * np.stack([cell.points[metric] for cell in cells.values()])
    found = ranks_over_points(values)
    common = sorted(set.intersection(*(set(cell.seeds[metric]) for cell in cells.values())))
    seed_low = seed_high = np.full(len(cells), np.nan)
    if len(common) > 1:
        seed_low, seed_high = ranks_over_seeds(
            scale * np.array([[cell.seeds[metric][seed] for cell in cells.values()] for seed in common])
        )
    rows = [
        {
            "metric": block,
            "rank": found.rank[number],
            "K": K,
            "column": column,
            "mean": values[number].mean(),
            "rank_low": found.low[number],
            "rank_high": found.high[number],
            "probability_best": found.best[number],
            "seed_rank_low": seed_low[number],
            "seed_rank_high": seed_high[number],
            "seeds": len(cell.seeds[metric]),
            "points": values.shape[1],
            "measure": measure,
        }
        for number, ((K, column), cell) in enumerate(cells.items())
    ]
    return sorted(rows, key=lambda row: row["rank"])


def _left_out(cells: Mapping[tuple[int, str], Cell | None], shared: tuple[int, str | None] | None) -> list[str]:
    gone = [f"{column}, K = {K}" for (K, column), cell in cells.items() if cell is None]
    other = [
        f"{column}, K = {K}" for (K, column), cell in cells.items() if cell and (cell.which is None or cell.which != shared)
    ]
    lines = [f"Not ranked, since runs are missing, see failures.csv: {'; '.join(gone)}."] if gone else []
    lines += [f"Not ranked, since evaluated on other test points than the rest: {'; '.join(other)}."] if other else []
    seeds = {key: len(cell.seeds["elbo"]) for key, cell in cells.items() if cell and cell.which and cell.which == shared}
    fewer = [f"{column}, K = {K}" for (K, column), count in seeds.items() if count < max(seeds.values())]
    return lines + ([f"Ranked by fewer seeds than the rest: {'; '.join(fewer)}."] if fewer else [])


def text(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table as text, with what the likelihood is of where there are several."""
    names = ["metric", "of", "rank", "K", "column", "mean", "95 % over points", "P(best)", "over seeds", "seeds", "points"]
    table = pd.DataFrame([dict(zip(names, _line(row), strict=True)) for row in frame.to_dict("records")], columns=names)
    return table if frame.measure.nunique() > 1 else table.drop(columns="of")


def _line(row: Mapping[str, Any]) -> list[Any]:
    mean = f"{row['mean']:.3f}{marks(row['unreliable'], row['stopped_by_budget'])}"
    best = "" if pd.isna(row["probability_best"]) else f"{row['probability_best']:.2f}"
    over_points, over_seeds = (
        "" if pd.isna(row[low]) else f"{row[low]} to {row[high]}"
        for low, high in (("rank_low", "rank_high"), ("seed_rank_low", "seed_rank_high"))
    )
    start = [row[name] for name in ("metric", "measure", "rank", "K", "column")]
    return [*start, mean, over_points, best, over_seeds, row["seeds"], row["points"]]


def note(frame: pd.DataFrame) -> str:
    """Return the explanation that stands below the table."""
    several = frame.measure.nunique() > 1
    return NOTE.format(
        measures=f" Likelihoods of {' and of '.join(frame.measure.unique())} do not compare: each has its own ranks." * several,
        columns=COLUMNS_NOTE,
        marks=MARKS_NOTE,
        resamples=f"{RESAMPLES:,}",
        left_out="".join(f"- {line}\n" for line in frame.attrs["left_out"]),
    )


def markdown(frame: pd.DataFrame, dataset: str) -> str:
    """Return a page with the table and its note."""
    return f"# {dataset}: {TITLES['ranking']}\n\n{markdown_table(text(frame))}\n\n{note(frame)}"


def latex(frame: pd.DataFrame, dataset: str) -> str:
    """Return the table as LaTeX, its note above it as a comment."""
    return commented(note(frame)) + latex_table(text(frame), f"{dataset}: {TITLES['ranking']}")
