"""Lays tables out for people as grids of entries, and writes grids as Markdown, LaTeX and text for the terminal."""

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from mixvae.study.metrics import metric_of
from mixvae.summary.cells import NOT_MEASURED, UNDEFINED

HOLE = "missing"
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "#": r"\#", "$": r"\$", "%": r"\%", "&": r"\&", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": "$<$", ">": "$>$", "|": r"\textbar{}",
    "Δ": r"$\Delta$", "Σ": r"$\Sigma$", "±": r"$\pm$", "×": r"$\times$", "§": r"\S{}", "–": "--", "—": "---",
    "†": r"\textsuperscript{\textdagger}", "‡": r"\textsuperscript{\textdaggerdbl}",
}  # fmt: skip
"""How LaTeX writes these characters."""


class Entry(NamedTuple):
    """One place of a table.

    text: Its main text; marks: the signs that warn of it; rest: the texts that follow, such as intervals.
    order: The number that it is sorted by; None for an entry that is not a number.
    cell: The row of the .csv that it shows, from the column `fact`; None for an entry that shows no value of runs.
    """

    text: str
    marks: str = ""
    rest: tuple[str, ...] = ()
    best: bool = False
    order: float | None = None
    cell: Mapping[str, Any] | None = None
    fact: str = "mean"


class Grid(NamedTuple):
    """A table laid out: the names of its columns, its rows, and the heading above it if it is not the first on its page."""

    headers: list[str]
    rows: list[list[Entry]]
    heading: str = ""


def spread(
    frame: pd.DataFrame, rows: tuple[str, ...] = ("metric", "K"), across: str = "group", order: Iterable[str] = ()
) -> Grid:
    """Lay cells out in the order in which they come, with a row for every combination of the values of `rows`.

    Arguments:
        rows: The columns of `frame` that name a row.
        across: The column of `frame` that tells the grid's columns apart; their names are in its column `column`.
        order: The order of the grid's columns if it is not that of the cells.
    """
    columns = {key: key for key in order} | dict(zip(frame[across], frame["column"], strict=True))
    lines: dict[tuple[str, ...], tuple[list[Entry], dict[str, Entry]]] = {}
    for cell in frame.to_dict("records"):
        named = [label(cell[name]) for name in rows]
        # rows are told apart by the group and not by its name, which is for people
        key = (*(entry.text for entry in named), cell["group"] if across != "group" else "")
        lines.setdefault(key, (named, {}))[1][cell[across]] = entry_of(cell)
    filled = [[*named, *(found.get(column, Entry("")) for column in columns)] for named, found in lines.values()]
    return Grid([*rows, *columns.values()], filled)


def listed(frame: pd.DataFrame, shown: Mapping[str, str | Callable[[Mapping[str, Any]], Entry]]) -> Grid:
    """Lay rows out as they come; `shown` has for every header the column of `frame`, or the function that makes the entry."""
    rows = frame.to_dict("records")
    entries = [[label(row[what]) if isinstance(what, str) else what(row) for what in shown.values()] for row in rows]
    return Grid(list(shown), entries)


def label(value: Any) -> Entry:
    """Return the entry of a word or a whole number, "" for none."""
    return Entry(value) if isinstance(value, str) else numeric("{:.0f}".format, value)


def numeric(shown: Callable[..., str], *values: Any) -> Entry:
    """Return the entry of a number or of both ends of an interval, "" for none."""
    return Entry("") if pd.isna(values[0]) else Entry(shown(*values), order=float(values[0]))


def entry_of(cell: Mapping[str, Any]) -> Entry:
    """Return the entry of a cell with a mean over seeds."""
    if pd.isna(cell["mean"]):
        absent = absence(cell["unmeasured"]) or (HOLE if pd.isna(cell["K"]) else f"{HOLE} (0 of {cell['expected']:.0f})")
        return Entry(absent, cell=cell)
    shown = "{:.3f}" if cell["metric"].startswith("control") else f"{{:.{metric_of(cell['metric']).digits}f}}"
    rest = []
    if cell["seeds"] > 1:
        rest.append(f"[{shown.format(cell['low'])}, {shown.format(cell['high'])}]")
    if cell["seeds"] < cell["expected"]:
        rest.append(f"({cell['seeds']:.0f} of {cell['expected']:.0f})")
    if not pd.isna(cell["delta"]):
        interval = "" if pd.isna(cell["delta_low"]) else f" [{cell['delta_low']:+.3f}, {cell['delta_high']:+.3f}]"
        rest.append(f"Δ {cell['delta']:+.3f}{interval}")
    mean = float(cell["mean"])
    return Entry(shown.format(mean), marks(cell), tuple(rest), cell["best"] is True, mean, cell)


def absence(unmeasured: Any) -> str:
    """Return the text of a cell whose runs are complete but have no value; "" if the runs are missing."""
    if not isinstance(unmeasured, str):
        return ""
    return UNDEFINED if unmeasured == UNDEFINED else NOT_MEASURED


def marks(cell: Mapping[str, Any]) -> str:
    """Return the signs that warn of a likelihood."""
    return "†" * (cell["unreliable"] is True) + "‡" * (cell["stopped_by_budget"] is True)


def headline(frame: pd.DataFrame, quantities: Iterable[str]) -> str:
    """Return quantities as plain text, means with the difference to K = 1 in brackets; "" if the table has none of them."""
    grid = spread(frame[frame.metric.isin(list(quantities))])
    texts = [[_brief(entry) for entry in row] for row in grid.rows]
    return pd.DataFrame(texts, columns=grid.headers).to_string(index=False) if texts else ""


def _brief(entry: Entry) -> str:
    cell = entry.cell
    if cell is None:
        return entry.text
    if pd.isna(cell["mean"]):
        return absence(cell["unmeasured"]) or HOLE
    return f"{cell['mean']:.3f}{entry.marks}" + ("" if pd.isna(cell["delta"]) else f" ({cell['delta']:+.3f})")


def written(grid: Grid, bold: str, escape: Callable[[str], str]) -> pd.DataFrame:
    """Return a grid as a frame of texts; `bold` is the template of a bold text, with {} for it, and `escape` escapes a text."""

    def line(entry: Entry) -> str:
        text = escape(entry.text)
        # an entry without a text has neither marks nor further texts
        return " ".join([(bold.format(text) if entry.best else text) + escape(entry.marks), *map(escape, entry.rest)])

    return pd.DataFrame([[line(entry) for entry in row] for row in grid.rows], columns=[escape(name) for name in grid.headers])


def markdown(title: str, grids: list[Grid], note: str) -> str:
    """Return a Markdown page: the first table, its note, and the other tables under their headings."""
    texts = [written(grid, "**{}**", lambda text: text.replace("|", r"\|")) for grid in grids]
    tables = [table.to_markdown(index=False, disable_numparse=True) for table in texts]
    more = [f"\n{grid.heading}\n\n{table}\n" for grid, table in zip(grids[1:], tables[1:], strict=True)]
    return f"# {title}\n\n{tables[0]}\n\n{note}" + "".join(more)


def latex(title: str, grids: list[Grid], note: str) -> str:
    """Return tables as LaTeX table environments, which need booktabs, with the note above them as a comment."""
    page = "".join(f"% {line}".rstrip() + "\n" for line in note.splitlines())
    captions = [title, *(f"{title.partition(':')[0]}: {grid.heading.removesuffix(':')}" for grid in grids[1:])]
    for grid, caption in zip(grids, captions, strict=True):
        table = written(grid, r"\textbf{{{}}}", escaped)
        # at the start of a row, LaTeX would take [ and * for options of the row's end or the rule before it
        table = table.replace({table.columns[0]: r"^([\[*])"}, r"{\1}", regex=True) if len(table.columns) else table
        page += table.to_latex(index=False, escape=False, caption=escaped(caption), column_format="l" * len(grid.headers))
    return page


def escaped(text: str) -> str:
    """Return text as LaTeX; a letter that a plain document cannot print loses its accents or becomes a question mark."""
    return "".join(LATEX.get(letter) or _printable(letter) for letter in text)


def _printable(letter: str) -> str:
    if letter.isascii() or ("À" <= letter <= "ÿ" and letter not in "ÐÞðþ÷"):
        return letter
    return unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode() or "?"
