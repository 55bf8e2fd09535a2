"""Finds the runs and the metric behind a cell of a table by its row in the .csv, and checks that these give its value."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from mixvae.review.audit.reading import Unreadable, read_frame
from mixvae.review.audit.subject import Subject
from mixvae.summary.results import StudyRuns

Values = dict[str, dict[str, tuple[float, float]]]
"""By metric and run, the value and its standard error over test points."""


class Cell(NamedTuple):
    """A cell that was found.

    value: Its value in the .csv.
    metric: The metric in metrics.csv that it summarises.
    scale: The factor that the metric is multiplied with.
    runs: The runs that it summarises; compared: the runs that a difference compares these with.
    what: The column of the .csv that has the value, such as "mean".
    """

    value: Any
    metric: str
    scale: float
    runs: list[str]
    compared: list[str]
    what: str


class Member(NamedTuple):
    """A run of a cell: its value there, scaled, or None where it has none, with the standard error over test points."""

    run: str
    seed: int
    value: float | None
    stderr: float


def cell_of(row: Mapping[str, Any], what: str, study: StudyRuns) -> Cell:
    """Return the cell in the column `what` of a table's row; runs that are not in the study are left out.

    Raises LookupError, TypeError or ValueError for a row that rule tabulate does not write.
    """
    runs, compared = (
        [run for run in ("" if pd.isna(row[name]) else row[name]).split() if run in study.runs] for name in ("runs", "compared")
    )
    return Cell(row[what], row["made_from"], float(row["factor"]), runs, compared, what)


def members(study: StudyRuns, cell: Cell, runs: Iterable[str], values: Values) -> list[Member]:
    """Return the given runs of a cell with their values."""
    found = values.get(cell.metric, {})
    return [
        Member(run, study.runs[run].seed, cell.scale * found[run][0], abs(cell.scale) * found[run][1])
        if run in found
        else Member(run, study.runs[run].seed, None, math.nan)
        for run in runs
    ]


def read_values(subject: Subject) -> Values:
    """Return the content of metrics.csv by metric and run. Raises Unreadable."""
    metrics, columns = read_frame(subject.folder / "metrics.csv", subject.results), ["metric", "run", "value", "stderr"]
    if missing := set(columns) - set(metrics.columns):
        raise Unreadable(f"no column {min(missing)}")
    numbers = {name: pd.to_numeric(metrics[name], errors="coerce") for name in columns[2:]}
    values: Values = {}
    for row in metrics[columns].assign(**numbers).itertuples(index=False):
        values.setdefault(row.metric, {})[row.run] = (row.value, row.stderr)
    return values


def agrees(cell: Cell, found: Iterable[Member]) -> bool | None:
    """Return whether a cell's mean is that of its runs; None if it is not a mean or no run has a value."""
    _, mean = mean_of(found)
    if cell.what not in ("mean", "ours") or mean is None:
        return None
    return isinstance(cell.value, float) and math.isclose(mean, cell.value, rel_tol=1e-9)


def mean_of(found: Iterable[Member]) -> tuple[int, float | None]:
    """Return how many of a cell's runs have a value, and their mean."""
    there = [member.value for member in found if member.value is not None and not math.isnan(member.value)]
    return len(there), sum(there) / len(there) if there else None


def row_text(row: Mapping[str, Any], keys: Iterable[str], equals: str) -> str:
    """Return the keys that name a row, with their values, as text."""
    return ", ".join(f"{key}{equals}{value_text(row[key])}" for key in keys)


def value_text(value: Any) -> str:
    """Return one value of a row's name as people write it; K is read as a real number if other rows have none."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:g}"
    return str(value)
