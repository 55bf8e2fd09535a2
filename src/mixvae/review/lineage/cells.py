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


class Member(NamedTuple):
    """A run of a cell: its value there, scaled, or None where it has none, with the standard error over test points."""

    run: str
    seed: int
    value: float | None
    stderr: float


class Cell(NamedTuple):
    """A cell that was found.

    value: Its value in the .csv.
    metric: The metric in metrics.csv that it summarises.
    scale: The factor that the metric is multiplied with.
    members: The runs that it summarises; compared: the runs that a difference compares these with.
    what: The column of the .csv that has the value, such as "mean".
    """

    value: Any
    metric: str
    scale: float
    members: list[Member]
    compared: list[Member]
    what: str

    @property
    def numbers(self) -> list[float]:
        """The values of those of its runs that have one."""
        return [member.value for member in self.members if member.value is not None and not math.isnan(member.value)]

    @property
    def mean(self) -> float | None:
        """The mean of `numbers`; None if there are none."""
        return sum(self.numbers) / len(self.numbers) if self.numbers else None

    @property
    def agrees(self) -> bool | None:
        """Whether the value in the .csv is `mean`; None if the column is not of means or no run has a value."""
        if self.what not in ("mean", "ours") or self.mean is None:
            return None
        return isinstance(self.value, float) and math.isclose(self.mean, self.value, rel_tol=1e-9)


def cell_of(row: Mapping[str, Any], what: str, study: StudyRuns, values: Values) -> Cell:
    """Return the cell in the column `what` of a table's row; runs that are not in the study are left out.

    Raises LookupError, TypeError, ValueError or AttributeError for a row that rule tabulate does not write.
    """
    metric, scale, known = row["made_from"], float(row["factor"]), values.get(row["made_from"], {})
    members: list[list[Member]] = []
    for runs in ("" if pd.isna(row[name]) else row[name] for name in ("runs", "compared")):
        members.append([])
        for run in (name for name in runs.split() if name in study.runs):
            found = (scale * known[run][0], abs(scale) * known[run][1]) if run in known else (None, math.nan)
            members[-1].append(Member(run, study.runs[run].seed, *found))
    return Cell(row[what], metric, scale, *members, what)


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


def row_text(row: Mapping[str, Any], keys: Iterable[str], equals: str) -> str:
    """Return the keys that name a row, with their values, as text."""
    return ", ".join(f"{key}{equals}{value_text(row[key])}" for key in keys)


def value_text(value: Any) -> str:
    """Return one value of a row's name as people write it; K is read as a real number if other rows have none."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:g}"
    return str(value)
