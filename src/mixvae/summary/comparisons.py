"""More components against fewer: paired differences of every column's likelihoods, with a verdict that holds for all of them together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mixvae.summary.columns import column_names
from mixvae.summary.rendering import COLUMNS_NOTE, MARKS_NOTE, TITLES, commented, latex_table, markdown_table, marks
from mixvae.summary.results import StudyRuns
from mixvae.summary.statistics import BOOTSTRAP_FROM, holm
from mixvae.summary.tables import COMPARABLE, differences, grouped, marked, pairs

SIGNIFICANCE = 0.05
"""What an adjusted p must be below."""
WHAT = ["metric", "column", "K", "against", "delta", "low", "high", "p", "p_adjusted"]
COLUMNS = [*WHAT, "points", "seeds", "seed_low", "seed_high", "seed_kind", "unreliable", "stopped_by_budget"]

NOTE = """\
Δ is K less the smaller K that it stands against, both of the same column, in nats per test point: below 0, more components are
better. Every K stands against K = 1 and, where that is another, against the next smaller K of its column. The mean is over the points
of the test part that both were evaluated on, on which no run was trained, and over the seeds that both have.
{columns}
†, ‡: of either side, as in the table of likelihoods. {marks}

- 95 % over points: t-interval of the mean over test points, the seeds of a point averaged first. It is of its own row alone.
- p: two-sided paired t-test over test points, adjusted by Holm for the {tests} of this table, all metrics, columns and K
  together, against whichever K. It is the verdict: an interval may leave out 0 where p is not below {significance}.
- over seeds: {spread} of the mean differences of the seeds, over the same test points.
- What neither the interval over points nor p says: what training again would give. They are about other test points, for the models
  trained here. {training}
{left_out}"""


def compare(study: StudyRuns, metrics: pd.DataFrame, runs: Path, missing: set[str], dataset: str) -> pd.DataFrame:
    """Return one row per comparable likelihood and one of `tables.pairs`, with columns COLUMNS; `attrs["left_out"]` says what has none.

    All rows are one family: p_adjusted is by Holm over the whole table.
    """
    frame = differences(study, runs, missing, dataset, COMPARABLE)
    frame["p_adjusted"] = holm(frame.p.to_numpy(float))
    sides = [marked(side, study, metrics, dataset) for side in (frame, frame.assign(K=frame.against))]
    for mark in ("unreliable", "stopped_by_budget"):
        frame[mark] = sides[0][mark] | sides[1][mark]
    frame = frame[COLUMNS]
    frame.attrs["left_out"] = _left_out(study, dataset, set(zip(frame.K, frame.against, frame.column, strict=True)))
    return frame


def _left_out(study: StudyRuns, dataset: str, found: set[tuple[int, int, str]]) -> list[str]:
    cells = grouped(study, column_names(study, dataset))
    if all(K == 1 for K, _ in cells):
        return ["Every run has K = 1, so there is nothing to compare."]
    planned = pairs(cells)
    compared = {column for _, _, column in planned}
    alone = [f"{column}, K = {K}" for K, column in cells if K > 1 and column not in compared]
    without = [column for column in dict.fromkeys(column for _, _, column in planned) if (1, column) not in cells]
    lost = [f"{column}, K = {K} against {against}" for K, against, column in planned if (K, against, column) not in found]
    lines = {
        "No other K of the same column to compare with": alone,
        "No K = 1, so that every K stands against the next smaller one alone": without,
        "Not compared, since runs are missing (failures.csv) or have seen other test points": lost,
    }
    return [f"{reason}: {'; '.join(names)}." for reason, names in lines.items() if names]


def text(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table as text."""
    names = ["metric", "column", "K", "against", "Δ", "95 % over points", "p", "over seeds", "points", "seeds"]
    return pd.DataFrame([dict(zip(names, _line(row), strict=True)) for row in frame.to_dict("records")], columns=names)


def _line(row: Mapping[str, Any]) -> list[Any]:
    delta = f"{row['delta']:+.3f}{marks(row['unreliable'], row['stopped_by_budget'])}"
    intervals = [
        "" if pd.isna(row[low]) else f"[{row[low]:+.3f}, {row[high]:+.3f}]"
        for low, high in (("low", "high"), ("seed_low", "seed_high"))
    ]
    p = probability(row["p_adjusted"])
    start = [row[name] for name in ("metric", "column", "K", "against")]
    return [*start, delta, intervals[0], p, intervals[1], row["points"], row["seeds"]]


def verdict(row: Mapping[str, Any]) -> str:
    """Return whether more components are shown to be "better" or "worse" than fewer, or "open"."""
    if pd.isna(row["p_adjusted"]) or row["p_adjusted"] >= SIGNIFICANCE:
        return "open"
    return "better" if row["delta"] < 0 else "worse"


def probability(p: float) -> str:
    """Return how a p-value is printed: "p = 0.012", "p < 0.001", and nothing where there is none."""
    return "" if pd.isna(p) else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def note(frame: pd.DataFrame) -> str:
    """Return the explanation that stands below the table."""
    tests, most = int(frame.p.notna().sum()), max(frame.seeds, default=0)
    training = "Of that the interval over seeds tells, where there is one."
    if most < BOOTSTRAP_FROM:
        training = (
            f"{'One seed tells' if most < 2 else f'At most {most} seeds, whose range is given, tell'} next to nothing of that."
        )
    return NOTE.format(
        columns=COLUMNS_NOTE,
        marks=MARKS_NOTE,
        tests=f"{tests} comparison{'s' * (tests != 1)}",
        significance=SIGNIFICANCE,
        spread=" or ".join({"min-max": "least and greatest"}.get(kind, kind) for kind in frame.seed_kind.dropna().unique())
        or "nothing, where there is one seed,",
        training=training,
        left_out="".join(f"- {line}\n" for line in frame.attrs["left_out"]),
    )


def markdown(frame: pd.DataFrame, dataset: str) -> str:
    """Return a page with the table and its note."""
    return f"# {dataset}: {TITLES['comparisons']}\n\n{markdown_table(text(frame))}\n\n{note(frame)}"


def latex(frame: pd.DataFrame, dataset: str) -> str:
    """Return the table as LaTeX, its note above it as a comment."""
    return commented(note(frame)) + latex_table(text(frame), f"{dataset}: {TITLES['comparisons']}")
