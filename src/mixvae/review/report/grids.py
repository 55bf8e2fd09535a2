"""Prepares the tables of a study for the report: every entry with its lineage, and the note below as HTML."""

from typing import NamedTuple

import pandas as pd
from markdown_it import MarkdownIt
from markupsafe import Markup

from mixvae.review.audit.reading import Unreadable, read_frame
from mixvae.review.audit.subject import Subject
from mixvae.review.lineage.cells import Cell, Values, cell_of, row_text
from mixvae.study import outputs
from mixvae.summary.cells import Sources
from mixvae.summary.rendering import Entry
from mixvae.summary.results import COLUMNS
from mixvae.summary.tables import TABLES

# without links, images and HTML: names in a note come from strangers
PARSER = MarkdownIt("zero", {"html": False}).enable(["list", "backticks"])


class Lineage(NamedTuple):
    """Where the value of an entry comes from: its row and column in words, the text that the table shows, and the cell."""

    id: str
    where: str
    shown: str
    cell: Cell


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
    for name in outputs.tables(subject.study.runs.values(), subject.study.datasets):
        kind, _, dataset = name.partition("_")
        try:
            tables.append(_filled(Shown(name, kind, dataset), subject, values))
        except Unreadable as reason:
            tables.append(Shown(name, kind, dataset, problem=str(reason)))
        except Exception as error:  # strangers may have put anything there
            tables.append(Shown(name, kind, dataset, problem=f"not as tabulate writes it: {type(error).__name__}: {error}"))
    return tables


def frame_of(subject: Subject, table: str) -> pd.DataFrame:
    """Return the rows of a table, published numbers with the digits that they were published with. Raises Unreadable."""
    return read_frame(subject.folder / f"tables/{table}.csv", subject.results, dtype={"published": str})


def note_html(note: str) -> Markup:
    """Return a Markdown note as HTML in which nothing but its paragraphs, lists and code is markup."""
    return Markup(PARSER.render(note))


def _filled(empty: Shown, subject: Subject, values: Values) -> Shown:
    table, frame, study = TABLES[empty.kind], frame_of(subject, empty.name), subject.study
    keys = [key for key in table.keys if key in frame.columns]
    # what notes need beside the rows: the data set's runs, without metrics
    sources = Sources(study, empty.dataset, pd.DataFrame(columns=COLUMNS), subject.results / "runs", set(subject.missing))
    grids, lineages = [], []
    for grid in table.grids(frame):
        rows = [
            [(entry, "" if entry.cell is None else f"{empty.name}-{number}-{place}") for place, entry in enumerate(row)]
            for number, row in enumerate(grid.rows)
        ]
        linked = [(entry, name) for row in rows for entry, name in row if name]
        for entry, name in linked:
            where = f"{row_text(entry.cell, keys, ' = ')}; {entry.fact if 'column' in keys else entry.cell['column']}"
            text = " ".join([entry.text + entry.marks, *entry.rest])
            lineages.append(Lineage(name, where, text, cell_of(entry.cell, entry.fact, study, values)))
        numeric = [any(row[place].order is not None for row in grid.rows) for place in range(len(grid.headers))]
        grids.append(Linked(grid.heading, list(zip(grid.headers, numeric, strict=True)), rows))
    return empty._replace(grids=tuple(grids), note=note_html(table.note(frame, sources)), lineages=tuple(lineages))
