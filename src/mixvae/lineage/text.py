"""The lineage of one cell as text."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mixvae.errors import UserError, did_you_mean
from mixvae.files import read_json
from mixvae.lineage.cells import ROW_KEYS, SUFFIXES, Cell, Cells, Member, agrees, mean_of, values_of
from mixvae.lineage.records import job
from mixvae.results import StudyRuns, read_study
from mixvae.spec.steps import DATA_FILES, rules_of


def trace(table: Path, row: str, column: str) -> list[str]:
    """Return the lineage of a cell as lines.

    Arguments:
        table: results/<study>/tables/<table>.csv.
        row: As `parse_row` reads it.
        column: As in the table's first line.

    Raises UserError for what the table has not.
    """
    folder, results = table.parents[1], table.parents[2]
    study, frame = _read(table, folder)
    kind, _, dataset = table.stem.partition("_")
    if dataset not in study.datasets:
        raise UserError(f"{table}: no table of study {study.name}: data set {dataset!r}{did_you_mean(dataset, study.datasets)}")
    if column not in frame.columns or column in ROW_KEYS:
        valid = [name for name in frame.columns if name not in ROW_KEYS and ("column" in frame or not name.endswith(SUFFIXES))]
        raise UserError(f"{table}: no column {column!r}{did_you_mean(column, valid)}")
    line = find_row(table, frame, parse_row(row))
    if pd.isna(line["K"]):
        raise UserError(f"{dataset}: the row is of no run, but context: {line['source']}")
    cells, values = Cells(study, dataset), values_of(pd.read_csv(folder / "metrics.csv"))
    cell = cells.find(kind, line, column)
    members = cells.members(cell, cell.runs, values)
    where = ", ".join(f"{key}={line[key]}" for key in ROW_KEYS if key in frame.columns)
    lines = [f"{table}: row {where}, column {column}: {cell.value}", *_summary(cell, members, folder)]
    for title, runs in (("", members), (" compared with", cells.members(cell, cell.compared, values))):
        for member in runs:
            lines += ["", *_run(member, title, study, results)]
    lines += ["", f"data {dataset}", *_data(dataset, results), "", f"tables of {study.name}"]
    return lines + _job("tabulate", folder)


def _read(table: Path, folder: Path) -> tuple[StudyRuns, pd.DataFrame]:
    if table.suffix != ".csv" or not table.is_file():
        beside = sorted(path.name for path in table.parent.glob("*.csv")) if table.parent.is_dir() else []
        raise UserError(
            f"{table}: no such table{did_you_mean(table.name, beside)}; TABLE is results/<study>/tables/<table>.csv"
        )
    if not (folder / "study.json").is_file():
        raise UserError(f"{folder}: no study.json, so no study's results; TABLE is results/<study>/tables/<table>.csv")
    try:
        return read_study(folder / "study.json"), pd.read_csv(table)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder}: study.json or the table cannot be read ({reason}); make audit says more") from None


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


def find_row(table: Path, frame: pd.DataFrame, row: Mapping[str, str]) -> dict[str, Any]:
    """Return the only row of a table in which every key has its value. Raises UserError."""
    there = frame
    for key, value in row.items():
        if key not in frame.columns:
            raise UserError(
                f"{table}: ROW: rows are not named by {key!r}{did_you_mean(key, set(ROW_KEYS) & set(frame.columns))}"
            )
        # a K beside rows without one is read as a real number
        texts = there[key].map(lambda cell: f"{cell:g}" if isinstance(cell, float) else str(cell))
        if not (texts == value).any():
            raise UserError(f"{table}: ROW: no row with {key}={value}{did_you_mean(value, texts.unique())}")
        there = there[texts == value]
    if len(there) != 1:
        keys = [key for key in ROW_KEYS if key in frame.columns and there[key].nunique() > 1]
        more = "; ".join(f"{key}: {', '.join(map(str, there[key].unique()))}" for key in keys)
        raise UserError(f"{table}: ROW: {len(there)} rows match; add {more or 'what tells them apart'}")
    return there.iloc[0].to_dict()


def _summary(cell: Cell, members: list[Member], folder: Path) -> list[str]:
    scaled = f"{cell.scale:g} x {cell.metric}" if cell.scale != 1 else cell.metric
    there, mean = mean_of(members)
    lines = [f"{cell.what} of {scaled} over {there} of {len(cell.runs)} seeds, {folder / 'metrics.csv'}"]
    if (agree := agrees(cell, members)) is not None:
        lines.append(f"mean of the seeds below: {mean}" + ("" if agree else ", which is NOT what the table says"))
    return lines


def _run(member: Member, title: str, study: StudyRuns, results: Path) -> list[str]:
    value = "missing"
    if member.value is not None:
        value = f"{member.value}" + ("" if math.isnan(member.stderr) else f" ± {member.stderr:.2g}")
    lines = [f"seed {member.seed}{title}: {value}   run {member.run}"]
    for rule in rules_of(study.runs[member.run]):
        lines += _job(rule, results / "runs" / member.run)
    return lines


def _data(dataset: str, results: Path) -> list[str]:
    folder = results / "datasets" / dataset
    lines = []
    for rule in DATA_FILES:
        lines += _job(rule, folder)
        if found := job(rule, _facts(rule, folder)):
            lines += [f"    sha256 {digest}  {file}" for file, digest in found.outputs.items()]
    return lines


def _job(rule: str, folder: Path) -> list[str]:
    """Return lines about one job: by what, where and when it was done, and the command that does it again."""
    found = job(rule, _facts(rule, folder))
    if found is None:
        return [f"  {rule}: no record, {folder / 'provenance' / rule}.json is not there or cannot be read"]
    commit = f"commit {found.commit}{' with changes' if found.dirty else ''}"
    slurm = f"SLURM job {found.slurm_job}" if found.slurm_job else "no SLURM job"
    made = f"{commit}, code {found.code}, on {found.host} ({found.device}), {slurm}, {found.start}, {found.hours:.4f} h"
    begun = [f"    begun on {attempt.host}, SLURM job {attempt.slurm_job}, {attempt.start}" for attempt in found.begun]
    return [f"  {rule}: {made}", *begun, f"    {shlex.join(found.command)}"]


def _facts(rule: str, folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / f"provenance/{rule}.json")
    except (OSError, ValueError):
        return {}
