"""The tables of a study as they are shown: cell by cell, each with its lineage."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from mixvae.review.audit.reading import Unreadable, read_frame, read_text
from mixvae.review.audit.subject import Subject
from mixvae.review.lineage.cells import ROW_KEYS, Cell, Cells, Member, Values, agrees, mean_of
from mixvae.review.report import pages
from mixvae.study import outputs

LINKED = {"published": {"our value": "ours"}, "comparisons": {"Δ": "delta"}, "ranking": {"mean": "mean"}}
"""By kind of table, the columns with values of runs as the page calls them, and as the .csv does; of other kinds, all but the keys."""
LARGEST = 1 << 24
"""Characters of a table's page."""
BOLD = re.compile(r"\*\*(.*?)\*\*")
NUMBER = re.compile(r"(?:p [=<] |\[)?([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)\b")
SPLIT = re.compile(r"([+-]?[\d.]+[†‡]*) ([\[(Δ].*)")


class Entry(NamedTuple):
    """One cell as it is shown.

    text: What it says first; rest: intervals and whatever else follows, line by line.
    order: What it is sorted by where its column is one of numbers; None for what is no number.
    lineage: The id of its lineage, "" for none.
    """

    text: str
    rest: tuple[str, ...] = ()
    best: bool = False
    order: float | None = None
    lineage: str = ""


class Grid(NamedTuple):
    """A table: its headers, for each whether it is sorted by numbers, and its rows."""

    id: str
    headers: list[tuple[str, bool]]
    rows: list[list[Entry]]


class Lineage(NamedTuple):
    """What a cell summarises.

    where: Its row and column in words.
    shown: As the table shows it.
    mean: Of its members, over `there` of them; agrees: whether that is the table's, None for what is no mean.
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


class Shown(NamedTuple):
    """A table of the study: the grid, what else the page holds, and the lineages; or why it cannot be shown."""

    name: str
    kind: str
    dataset: str
    grid: Grid | None = None
    context: tuple[Grid, ...] = ()
    note: Markup = Markup("")
    lineages: tuple[Lineage, ...] = ()
    problem: str = ""


def shown(subject: Subject, values: Values) -> list[Shown]:
    """Return all tables of a study, those that cannot be read with the reason."""
    tables, known = [], {}
    for name in outputs.tables(subject.study.runs.values(), subject.study.datasets):
        kind, _, dataset = name.partition("_")
        try:
            if dataset not in known:
                known[dataset] = Cells(subject.study, dataset)
            tables.append(_table(name, kind, dataset, subject, known[dataset], values))
        except Unreadable as reason:
            tables.append(Shown(name, kind, dataset, problem=str(reason)))
        except Exception as error:  # strangers may have put anything there
            tables.append(Shown(name, kind, dataset, problem=f"not as tabulate writes it: {type(error).__name__}: {error}"))
    return tables


def frame_of(subject: Subject, table: str) -> pd.DataFrame:
    """Return the numbers of a table. Raises Unreadable."""
    return read_frame(subject.folder / f"tables/{table}.csv", subject.results)


def grid(name: str, headers: list[str], rows: Iterable[list[Entry]]) -> Grid:
    """Return a table whose columns are sorted by numbers where no cell but empty ones and words of absence say otherwise."""
    rows = list(rows)
    numeric = [any(row[number].order is not None for row in rows) for number in range(len(headers))]
    return Grid(name, list(zip(headers, numeric, strict=True)), rows)


def entry(text: Any, numeric: bool = True) -> Entry:
    """Return a cell from its text: bold is best of its column, and behind a number follow its intervals."""
    text = str(text)
    plain = BOLD.sub(r"\1", text)
    number = NUMBER.match(plain) if numeric else None
    first, rest = parts.groups() if (parts := SPLIT.match(plain)) else (plain, "")
    return Entry(first, tuple(re.split(r" (?=Δ)", rest)) if rest else (), plain != text, float(number[1]) if number else None)


def _table(name: str, kind: str, dataset: str, subject: Subject, cells: Cells, values: Values) -> Shown:
    source = read_text(subject.folder / f"tables/{name}.md", subject.results)
    if len(source) > LARGEST:
        raise Unreadable(f"{len(source)} characters, more than a table has")
    page = pages.read(source)
    frame = frame_of(subject, name)
    (headers, texts), *context = page.tables or [([], [])]
    lines = frame[frame["K"].notna()].to_dict("records")
    linked = LINKED.get(kind) or {header: header for header in headers if header not in ROW_KEYS}
    words = {
        header
        for header in headers
        if header in ("settings", "column", "metric", "ours", "published as", "source", "our budget")
    }
    rows, lineages = [], []
    for number, text in enumerate(texts):
        row = [entry(cell, header not in words) for header, cell in zip(headers, text, strict=True)]
        # the rows of controls, which come last, are of no K
        for place, header in enumerate(headers if number < len(lines) else []):
            if header in linked and text[place]:
                found = _lineage(f"{name}-{number}-{place}", kind, lines[number], linked[header], text[place], cells, values)
                lineages.append(found)
                row[place] = row[place]._replace(lineage=found.id)
        rows.append(row)
    if len(texts) < len(lines):
        raise Unreadable(f"{len(texts)} rows in the .md, but {len(lines)} in the .csv")
    others = tuple(
        grid(f"{name}-context-{number}", names, ([entry(cell, False) for cell in line] for line in body))
        for number, (names, body) in enumerate(context)
    )
    return Shown(name, kind, dataset, grid(name, headers, rows), others, page.note, tuple(lineages))


def _lineage(name: str, kind: str, line: dict[str, Any], column: str, text: str, cells: Cells, values: Values) -> Lineage:
    cell = cells.find(kind, line, column)
    delta = f"{column} delta"
    compared = cell.compared
    if delta in line and not pd.isna(line[delta]):
        compared = cells.find(kind, line, delta).compared
    keys = [key for key in ROW_KEYS if key in line]
    where = ", ".join(f"{key} = {line[key]:g}" if isinstance(line[key], float) else f"{key} = {line[key]}" for key in keys)
    members = cells.members(cell, cell.runs, values)
    there, mean = mean_of(members)
    others = cells.members(cell, compared, values)
    shown = BOLD.sub(r"\1", text)
    return Lineage(name, f"{where}; {column}", shown, cell, members, others, there, mean, agrees(cell, members))
