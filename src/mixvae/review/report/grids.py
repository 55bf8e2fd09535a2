"""Prepares the tables of a study for the report: every entry with its lineage."""

from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from mixvae.review.audit.reading import Unreadable, read_frame
from mixvae.review.audit.subject import Subject
from mixvae.review.lineage.cells import Cell, Member, Values, agrees, cell_of, mean_of, members, row_text
from mixvae.review.report import notes
from mixvae.study import outputs
from mixvae.summary.cells import Sources
from mixvae.summary.rendering import Entry, Grid
from mixvae.summary.results import COLUMNS, StudyRuns
from mixvae.summary.tables import TABLES


class Lineage(NamedTuple):
    """Where the value of an entry comes from.

    where: Its row and column in words.
    shown: The text that the table shows.
    mean: The mean of its members, of which `there` have a value; agrees: whether the table has it, None if it has no mean.
    """

    id: str
    where: str
    shown: str
    cell: Cell
    members: list[Member]
    compared: list[Member]
    there: int
    mean: float | None
    agrees: bool | None


class Linked(NamedTuple):
    """A table whose entries lead to their lineage.

    headers: The name of each column, and whether it is sorted by numbers.
    rows: Every entry with the id of its lineage, "" for none.
    """

    heading: str
    headers: list[tuple[str, bool]]
    rows: list[list[tuple[Entry, str]]]


class Shown(NamedTuple):
    """A table of the study: the grids of its page, its note, and the lineages; or the problem why it cannot be shown."""

    name: str
    kind: str
    dataset: str
    grids: tuple[Linked, ...] = ()
    note: Markup = Markup("")
    lineages: tuple[Lineage, ...] = ()
    problem: str = ""


def shown(subject: Subject, values: Values) -> list[Shown]:
    """Return all tables of a study, those that cannot be read with the reason."""
    tables = []
    sources = {name: sources_of(subject, name) for name in subject.study.datasets}
    for name in outputs.tables(subject.study.runs.values(), subject.study.datasets):
        kind, _, dataset = name.partition("_")
        try:
            tables.append(_table(name, kind, frame_of(subject, name), sources[dataset], values))
        except Unreadable as reason:
            tables.append(Shown(name, kind, dataset, problem=str(reason)))
        except Exception as error:  # strangers may have put anything there
            tables.append(Shown(name, kind, dataset, problem=f"not as tabulate writes it: {type(error).__name__}: {error}"))
    return tables


def frame_of(subject: Subject, table: str) -> pd.DataFrame:
    """Return the rows of a table, published numbers with the digits that they were published with. Raises Unreadable."""
    return read_frame(subject.folder / f"tables/{table}.csv", subject.results, dtype={"published": str})


def sources_of(subject: Subject, dataset: str) -> Sources:
    """Return the sources that notes need beside the rows of tables: the data set's runs, without metrics."""
    return Sources(subject.study, dataset, pd.DataFrame(columns=COLUMNS), subject.results / "runs", set(subject.missing))


def _table(name: str, kind: str, frame: pd.DataFrame, sources: Sources, values: Values) -> Shown:
    table = TABLES[kind]
    grids, lineages = [], []
    for grid in table.grids(frame):
        rows: list[list[tuple[Entry, str]]] = []
        for row in grid.rows:
            rows.append([])
            for place, entry in enumerate(row):
                if entry.cell is not None:
                    keys = [key for key in table.keys if key in frame.columns]
                    lineages.append(_lineage(f"{name}-{len(rows) - 1}-{place}", entry, keys, sources.study, values))
                rows[-1].append((entry, lineages[-1].id if entry.cell is not None else ""))
        grids.append(_linked(grid, rows))
    note = notes.html(table.note(frame, sources))
    return Shown(name, kind, sources.dataset, tuple(grids), note, tuple(lineages))


def _linked(grid: Grid, rows: list[list[tuple[Entry, str]]]) -> Linked:
    numeric = [any(row[place].order is not None for row in grid.rows) for place in range(len(grid.headers))]
    return Linked(grid.heading, list(zip(grid.headers, numeric, strict=True)), rows)


def _lineage(name: str, entry: Entry, keys: list[str], study: StudyRuns, values: Values) -> Lineage:
    row: Any = entry.cell
    cell = cell_of(row, entry.fact, study)
    ours, theirs = (members(study, cell, runs, values) for runs in (cell.runs, cell.compared))
    there, mean = mean_of(ours)
    where = f"{row_text(row, keys, ' = ')}; {entry.fact if 'column' in keys else row['column']}"
    text = " ".join([entry.text + entry.marks, *entry.rest])
    return Lineage(name, where, text, cell, ours, theirs, there, mean, agrees(cell, ours))
