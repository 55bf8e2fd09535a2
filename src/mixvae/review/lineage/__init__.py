"""Where the cells of a table come from: their runs, and the records, commands and data of these. `trace` writes it as text."""

import math
import shlex
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mixvae.errors import UserError, did_you_mean, one_line
from mixvae.review.audit.findings import FAILURE
from mixvae.review.audit.reading import Unreadable, read_frame
from mixvae.review.audit.subject import Subject, read
from mixvae.review.lineage.cells import Cell, Values, cell_of, read_values, row_text, value_text
from mixvae.review.lineage.records import broken, command_of, record_of
from mixvae.study.outputs import tables
from mixvae.summary.cells import COLUMNS, ORIGIN
from mixvae.summary.tables import TABLES

USAGE = "TABLE is results/<study>/tables/<table>.csv"
MORE = "make audit says more"
ROW_KEYS = ("settings", "column", "metric", "K", "against")
"""The columns that may name a row; each kind of table says which of them do."""
FACTS = [name for name in COLUMNS if name not in (*ROW_KEYS, *ORIGIN)]
"""The columns that hold a cell's values, and not its name or origin."""


def trace(table: Path, row: str, column: str) -> list[str]:
    """Return the lineage of a cell as lines that can be printed, whatever the files hold.

    Arguments:
        table: results/<study>/tables/<table>.csv.
        row: As `parse_row` reads it.
        column: A column of the table as people read it, alone for the mean or followed by one of FACTS; if `column` is one of
            the keys that name the table's rows, a column of the .csv.

    Raises UserError if the table has no such cell, and for files that are not as rules write them.
    """
    subject, frame, values = _read(table)
    kind, _, dataset = table.stem.partition("_")
    keys = [key for key in TABLES[kind].keys if key in frame.columns]
    name, what = _column(table, frame, keys, column)
    rows = find_row(table, frame, keys, parse_row(row))
    if "column" not in keys:
        rows = rows[rows.column == name]
    cell, where = None, ""
    try:
        for line in rows.head(1).to_dict("records"):
            if pd.isna(line["runs"]):
                raise UserError(f"{dataset}: the row is of no run, but context: {line.get('source')}")
            cell, where = cell_of(line, what, subject.study, values), row_text(line, keys, "=")
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise UserError(f"{table}: not as rule tabulate writes it ({type(error).__name__}: {error}); {MORE}") from None
    if cell is None or not cell.members:
        raise UserError(f"{table}: no run of study {subject.study.name} is behind row {row}, column {column}")
    lines = [f"{table}: row {where}, column {column}: {cell.value}", *_summary(cell, subject)]
    # a mean that has its difference in another column comes from its own runs alone
    compared = cell.compared if "column" in keys or what.startswith("delta") else []
    for title, found in (("", cell.members), (" compared with", compared)):
        for member in found:
            value = "missing" if member.value is None else member.value
            error = "" if math.isnan(member.stderr) else f" ± {member.stderr:.2g}"
            lines += ["", f"seed {member.seed}{title}: {value}{error}   run {member.run}", *_jobs(member.run, subject)]
    lines += ["", f"data {dataset}", *_jobs(dataset, subject, outputs=True)]
    lines += ["", f"tables of {subject.study.name}", *_jobs(subject.study.name, subject, only="tabulate")]
    return [one_line(text) for text in lines]


def _read(table: Path) -> tuple[Subject, pd.DataFrame, Values]:
    """Return the study of a table, the table, and the values of the study's metrics.csv."""
    if len(table.parts) < 4 or table.parent.name != "tables":
        raise UserError(f"{table}: no such table; {USAGE}")
    folder = table.parents[1]
    if not (folder / "study.json").is_file():
        raise UserError(f"{folder}: no study.json, so no study's results; {USAGE}")
    subject, findings = read(folder, None)
    if found := [finding for finding in findings.of(FAILURE) if finding.rule == "study"]:
        raise UserError(f"{found[0].file}: {found[0].message}; {MORE}")
    names = [f"{name}.csv" for name in tables(subject.study.runs.values(), subject.study.datasets)]
    if table.name not in names:
        raise UserError(f"{table}: no such table{did_you_mean(table.name, names)}; {USAGE}")
    path = table
    try:
        frame = read_frame(table, subject.results)
        if missing := {"K", "metric", "column", *ORIGIN} - set(frame.columns):
            raise Unreadable(f"not as rule tabulate writes it, no column {min(missing)}")
        path = folder / "metrics.csv"
        return subject, frame, read_values(subject)
    except Unreadable as reason:
        raise UserError(f"{path}: {reason}; {MORE}") from None


def _column(table: Path, frame: pd.DataFrame, keys: list[str], column: str) -> tuple[str, str]:
    """Return the name of the table's column that is meant, and the column of the .csv that has the value."""
    if "column" in keys:
        valid = [name for name in frame.columns if name not in (*keys, *ORIGIN)]
        if column in valid:
            return column, column
    else:
        valid = list(frame.column.unique())
        name, _, fact = column.rpartition(" ")
        if column in valid:
            return column, "mean"
        if name in valid and fact in FACTS:
            return name, fact
    raise UserError(f"{table}: no column {column!r}{did_you_mean(column, valid)}")


def parse_row(text: str) -> dict[str, str]:
    """Read `metric,K=4` or `metric=nll,K=4,settings=...`: key=value, joined by commas; what has no key is the metric.

    A comma within a value belongs to it unless one of ROW_KEYS and = follow.
    """
    row: dict[str, str] = {}
    last = None
    for number, part in enumerate(text.split(",")):
        key, equals, value = part.partition("=")
        if equals and key.strip() in ROW_KEYS:
            last = key.strip()
            row[last] = value.strip()
        elif number == 0 and not equals:
            last = "metric"
            row[last] = part.strip()
        elif last in ("settings", "column"):
            row[last] += f",{part}"
        else:
            near = did_you_mean(key.strip(), ROW_KEYS)
            raise UserError(f"ROW: found {part.strip()!r}, expected key=value{near}, as in nll,K=4")
    return row


def find_row(table: Path, frame: pd.DataFrame, keys: list[str], row: Mapping[str, str]) -> pd.DataFrame:
    """Return the cells of the only row in which every key has its value. Raises UserError."""
    there = frame
    for key, value in row.items():
        if key not in keys:
            raise UserError(f"{table}: ROW: rows are not named by {key!r}{did_you_mean(key, keys)}")
        texts = there[key].map(value_text)
        if not (texts == value).any():
            raise UserError(f"{table}: ROW: no row with {key}={value}{did_you_mean(value, filter(None, texts.unique()))}")
        there = there[texts == value]
    found = there[keys].drop_duplicates()
    if len(found) != 1:
        more = "; ".join(
            f"{key}: {', '.join(map(value_text, found[key].unique()))}" for key in keys if found[key].nunique() > 1
        )
        raise UserError(f"{table}: ROW: {len(found)} rows match; add {more or 'what tells them apart'}")
    return there


def _summary(cell: Cell, subject: Subject) -> list[str]:
    scaled = f"{cell.scale:g} x {cell.metric}" if cell.scale != 1 else cell.metric
    seeds = f"{len(cell.numbers)} of {len(cell.members)} seeds"
    lines = [f"{cell.what} of {scaled} over {seeds}, {subject.folder / 'metrics.csv'}"]
    if cell.agrees is not None:
        lines.append(f"mean of the seeds below: {cell.mean}" + ("" if cell.agrees else ", which is NOT what the table says"))
    return lines


def _jobs(name: str, subject: Subject, only: str = "", outputs: bool = False) -> list[str]:
    """Return lines about the jobs of a run, data set or study, about those of one rule if `only` names it.

    The lines say how, where and when a job was done, what differs from its record, its command, and its outputs if asked for.
    """
    lines = []
    for job in subject.jobs:
        if job.name != name or only not in ("", job.rule):
            continue
        if not (found := record_of(subject, job)):
            lines.append(f"  {job.rule}: no record, {job.provenance} is not there or cannot be read")
            continue
        where = f"on {found.host} ({found.device}), {found.slurm}, {found.start}, {found.hours:.4f} h"
        lines.append(f"  {job.rule}: commit {found.commit}, code {found.code}, {where}")
        lines += [f"    begun on {attempt}" for attempt in found.begun]
        if reason := broken(subject, job):
            lines.append(f"    WARNING: {reason}; {MORE}")
        lines.append(f"    {shlex.join(command_of(subject, job))}")
        lines += [f"    sha256 {digest}  {file}" for file, digest in found.outputs.items() if outputs]
    return lines
