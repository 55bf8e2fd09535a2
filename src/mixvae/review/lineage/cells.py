"""Which runs and which metric a cell of a table summarises."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from mixvae.review.audit.reading import Unreadable, read_frame
from mixvae.review.audit.subject import Subject
from mixvae.summary.columns import column_names
from mixvae.summary.published import DERIVED
from mixvae.summary.results import StudyRuns
from mixvae.summary.tables import BITS, DENSITY, FACTS, LATENT, LIKELIHOODS, MIXTURE, RECONSTRUCTION, SINGLE, factor, grouped

ROW_KEYS = ("settings", "column", "metric", "K", "against")
"""Columns that name a row, as far as a table has them."""
SUFFIXES = (*FACTS[:2], *FACTS[3:], "delta", "delta_low", "delta_high", "unreliable", "stopped_by_budget")
"""What else a table has in columns of their own, `<column> <suffix>`, beside the mean."""
BLOCKS = {**LIKELIHOODS, **{name: name for name in (*LATENT, *RECONSTRUCTION)}}

Values = dict[str, dict[str, tuple[float, float]]]
"""By metric and run, the value and its standard error over test points."""


class Cell(NamedTuple):
    """A cell that was found.

    value: As it stands in the table.
    metric: The one of metrics.csv that it summarises.
    scale: What that is multiplied with.
    runs: Those that it summarises; compared: those that a difference is taken to.
    what: "mean", or which other fact.
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


class Cells:
    """Finds the runs of the cells of all tables on a data set."""

    def __init__(self, study: StudyRuns, dataset: str) -> None:
        self.study, self.info = study, study.datasets[dataset]
        names = column_names(study, dataset)
        self.columns = set(names.values())
        self.groups = grouped(study, names)
        self.mixtures = grouped(study, {run: name for run, name in names.items() if study.runs[run].model == "mvae"})

    def find(self, kind: str, line: Mapping[str, Any], column: str) -> Cell:
        """Return a cell.

        Arguments:
            kind: Of the table, as in "ablation".
            line: The row.
            column: One of the row's that is not among ROW_KEYS.

        Raises LookupError for what no run is behind.
        """
        K, block, name, what = int(line["K"]), line["metric"], column, "mean"
        if "column" in line:  # a row per number, not one for all columns of a K
            metric, unit = DERIVED.get(block, (block, block)) if kind == "published" else (LIKELIHOODS[block], block)
            compared = self.groups[line["against"], line["column"]] if kind == "comparisons" else []
            return Cell(line[column], metric, factor(unit, self.info), self.groups[K, line["column"]], compared, column)
        known = self.columns if kind != "components" else {MIXTURE, SINGLE, *(f"C{k}" for k in range(1, 101))}
        if column not in known:
            ends = [end for end in SUFFIXES if column.endswith(f" {end}")]
            name, what = column.removesuffix(f" {ends[0]}"), ends[0]
        if kind == "components":
            metric = f"{block}_component_{name[1:]}" if name not in (MIXTURE, SINGLE) else block
            return Cell(line[column], metric, 1.0, self.mixtures[1 if name == SINGLE else K, line["settings"]], [], what)
        metric = DENSITY[block] if kind == "density" else BLOCKS[block.removesuffix(BITS)]
        compared = self.groups.get((1, name), []) if what.startswith("delta") else []
        return Cell(line[column], metric, factor(block, self.info), self.groups.get((K, name), []), compared, what)

    def members(self, cell: Cell, runs: Iterable[str], values: Values) -> list[Member]:
        """Return runs of a cell with their values."""
        found = values.get(cell.metric, {})
        return [
            Member(run, self.study.runs[run].seed, cell.scale * found[run][0], abs(cell.scale) * found[run][1])
            if run in found
            else Member(run, self.study.runs[run].seed, None, math.nan)
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


def agrees(cell: Cell, members: Iterable[Member]) -> bool | None:
    """Return whether a mean is what its runs give; None for what is no mean, or of no runs."""
    _, mean = mean_of(members)
    if cell.what not in ("mean", "ours") or mean is None:
        return None
    return isinstance(cell.value, float) and math.isclose(mean, cell.value, rel_tol=1e-9)


def mean_of(members: Iterable[Member]) -> tuple[int, float | None]:
    """Return how many of a cell's runs have a value, and their mean."""
    there = [member.value for member in members if member.value is not None and not math.isnan(member.value)]
    return len(there), sum(there) / len(there) if there else None
