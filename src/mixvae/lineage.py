"""Where one cell of a table comes from: its runs, and by which records, commands and data they were made."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mixvae.columns import column_names
from mixvae.errors import UserError, did_you_mean
from mixvae.files import read_json
from mixvae.published import DERIVED
from mixvae.results import StudyRuns, read_study
from mixvae.spec.steps import DATA_FILES, rules_of
from mixvae.tables import BITS, DENSITY, FACTS, LATENT, LIKELIHOODS, MIXTURE, RECONSTRUCTION, SINGLE, factor, grouped

ROW_KEYS = ("settings", "column", "metric", "K")
"""Columns that name a row, as far as a table has them."""
SUFFIXES = (*FACTS[:2], *FACTS[3:], "delta", "delta_low", "delta_high", "unreliable", "stopped_by_budget")
"""What else a table has in columns of their own, `<column> <suffix>`, beside the mean."""
BLOCKS = {**LIKELIHOODS, **{name: name for name in (*LATENT, *RECONSTRUCTION)}}
HOUR = 3600.0


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
    cell = _cell(kind, study, dataset, line, column)
    values = pd.read_csv(folder / "metrics.csv")
    values = values[values.metric == cell.metric].set_index("run")
    where = ", ".join(f"{key}={line[key]}" for key in ROW_KEYS if key in frame.columns)
    lines = [f"{table}: row {where}, column {column}: {cell.value}", *_values(cell, values, folder)]
    for title, runs in (("", cell.runs), (" compared with", cell.compared)):
        for run in runs:
            lines += ["", *_run(run, title, study, cell, values, results)]
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


def _cell(kind: str, study: StudyRuns, dataset: str, line: dict[str, Any], column: str) -> Cell:
    if pd.isna(line["K"]):
        raise UserError(f"{dataset}: the row is of no run, but context: {line['source']}")
    info, K, block = study.datasets[dataset], int(line["K"]), line["metric"]
    names = column_names(study, dataset)
    what, groups = "mean", grouped(study, names)
    if "column" in line:  # a row per number, not one for all columns of a K
        metric, unit = DERIVED.get(block, (block, block)) if kind == "published" else (LIKELIHOODS[block], block)
        compared = groups[line["against"], line["column"]] if kind == "comparisons" else []
        return Cell(line[column], metric, factor(unit, info), groups[K, line["column"]], compared, column)
    found = set(names.values()) if kind != "components" else {MIXTURE, SINGLE, *(f"C{k}" for k in range(1, 101))}
    name = column
    if column not in found:
        name, what = next((column.removesuffix(f" {end}"), end) for end in SUFFIXES if column.endswith(f" {end}"))
    if kind == "components":
        metric = f"{block}_component_{name[1:]}" if name not in (MIXTURE, SINGLE) else block
        members = {run: settings for run, settings in names.items() if study.runs[run].model == "mvae"}
        return Cell(line[column], metric, 1.0, grouped(study, members)[1 if name == SINGLE else K, line["settings"]], [], what)
    metric = DENSITY[block] if kind == "density" else BLOCKS[block.removesuffix(BITS)]
    compared = groups.get((1, name), []) if what.startswith("delta") else []
    return Cell(line[column], metric, factor(block, info), groups.get((K, name), []), compared, what)


def _values(cell: Cell, values: pd.DataFrame, folder: Path) -> list[str]:
    scaled = f"{cell.scale:g} x {cell.metric}" if cell.scale != 1 else cell.metric
    there = [cell.scale * values.value[run] for run in cell.runs if run in values.index and not math.isnan(values.value[run])]
    lines = [f"{cell.what} of {scaled} over {len(there)} of {len(cell.runs)} seeds, {folder / 'metrics.csv'}"]
    if cell.what in ("mean", "ours") and there:
        mean = sum(there) / len(there)
        agree = isinstance(cell.value, float) and math.isclose(mean, cell.value, rel_tol=1e-9)
        lines.append(f"mean of the seeds below: {mean}" + ("" if agree else ", which is NOT what the table says"))
    return lines


def _run(run: str, title: str, study: StudyRuns, cell: Cell, values: pd.DataFrame, results: Path) -> list[str]:
    spec, folder = study.runs[run], results / "runs" / run
    value = "missing"
    if run in values.index:
        stderr = values.stderr[run]
        value = f"{cell.scale * values.value[run]}" + ("" if math.isnan(stderr) else f" ± {abs(cell.scale) * stderr:.2g}")
    lines = [f"seed {spec.seed}{title}: {value}   run {run}"]
    for rule in rules_of(spec):
        lines += _job(rule, folder)
    return lines


def _data(dataset: str, results: Path) -> list[str]:
    folder = results / "datasets" / dataset
    lines = []
    for rule in DATA_FILES:
        lines += _job(rule, folder)
        for file, digest in _facts(rule, folder).get("outputs", {}).items():
            lines.append(f"    sha256 {digest}  {file}")
    return lines


def _job(rule: str, folder: Path) -> list[str]:
    """Return two lines about one job: by what, where and when it was done, and the command that does it again."""
    facts = _facts(rule, folder)
    if not facts:
        return [f"  {rule}: no record, {folder / 'provenance' / rule}.json is not there or cannot be read"]
    git = facts.get("git") or {}
    commit = f"commit {str(git.get('commit', 'unknown'))[:12]}{' with changes' if git.get('dirty') else ''}"
    made = f"{commit}, code {facts['code_sha256'][:12]}, on {facts['host']} ({facts['device']})"
    job = f"SLURM job {facts['slurm_job_id']}" if facts["slurm_job_id"] else "no SLURM job"
    # of a training that was cut off the last process is clocked, but all of its training
    hours = max(facts["seconds"], facts.get("train_seconds", 0.0)) / HOUR
    lines = [f"  {rule}: {made}, {job}, {facts['start']}, {hours:.4f} h"]
    for attempt in (facts.get("attempts") or [])[:-1]:
        lines.append(f"    begun on {attempt.get('host')}, SLURM job {attempt.get('slurm_job_id')}, {attempt.get('start')}")
    return [*lines, f"    {shlex.join(facts['command'])}"]


def _facts(rule: str, folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / f"provenance/{rule}.json")
    except (OSError, ValueError):
        return {}
