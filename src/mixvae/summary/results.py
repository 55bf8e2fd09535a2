"""Reads the results of a study: its runs from study.json, and the metrics of all its runs as one tidy table."""

import math
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from mixvae.errors import UserError
from mixvae.files import read_json
from mixvae.study import DatasetInfo, Run, parse_run
from mixvae.study.jobs import rules_of, run_file
from mixvae.study.metrics import FOUND_IN, METRICS, PLAIN

COLUMNS = (
    "run", "dataset", "model", "K", "prior", "flow", "seed", "metric", "value", "stderr", "unit", "measurement", "mc_error",
)  # fmt: skip
"""The columns of metrics.csv; `measurement` names the folder in measured/ that a value is from, "" for facts of the training."""
ENTRY = ("value", "stderr", "unit", "mc_error")
REPORTED = ("nll_ais", "nll")
"""The estimates of -log p(x), best first: the first that a run has is the one to go by."""


Measured = tuple[str, dict[str, dict[str, Any]]]
"""The name of a measurement's folder, and its entries by metric."""


class StudyRuns(NamedTuple):
    """A study as written to study.json: its name, runs by id, skipped combinations with reasons, and data sets by name."""

    name: str
    runs: dict[str, Run]
    skipped: list[dict[str, Any]]
    datasets: dict[str, DatasetInfo]


def read_study(path: Path) -> StudyRuns:
    """Read results/<study>/study.json."""
    content = read_json(path)
    # JSON has turned tuples into lists; the validation of a config turns them back
    runs = {run: parse_run(spec) for run, spec in content["runs"].items()}
    datasets = {name: DatasetInfo.model_validate(info) for name, info in content["datasets"].items()}
    return StudyRuns(content["study"], runs, content["skipped"], datasets)


def controls_of(study: StudyRuns) -> dict[str, str]:
    """Return {run: control} for runs with a control: a constant predictor with the run's data and likelihood (nb for zinb)."""
    controls = [(run, spec) for run, spec in study.runs.items() if spec.is_control]
    found: dict[str, str] = {}
    for run, spec in study.runs.items():
        for name, control in controls if not spec.is_control else ():
            if control.dataset == spec.dataset and control.likelihood in (spec.likelihood, spec.likelihood.of_control):
                found.setdefault(run, name)
    return found


def tidy(study: StudyRuns, runs: Path, missing: set[str]) -> pd.DataFrame:
    """Return every metric of every run that is not `missing`, one row each, with columns COLUMNS."""
    rows = []
    for run, spec in study.runs.items():
        if run in missing:
            continue
        names = (run, spec.dataset, spec.model, spec.K, spec.prior.name, spec.flow.name, spec.seed)
        found = _metrics(runs / run, spec)
        if spec.likelihood.discrete:
            found.append(_bits(found, math.prod(study.datasets[spec.dataset].shape)))
        if spec.annealing:
            found.append(_excesses(found, runs / run, spec))
        for measurement, entries in found:
            for metric, entry in entries.items():
                value, stderr, unit, mc_error = (entry.get(key) for key in ENTRY)
                rows.append((*names, metric, value, stderr, unit, measurement, mc_error))
    return pd.DataFrame(rows, columns=COLUMNS).astype({"value": float, "stderr": float, "mc_error": float})


def _bits(found: list[Measured], dimensions: int) -> Measured:
    """Return the metric `bpd` of a run, made from the reported estimate of the likelihood, which its unit names."""
    known = {name: (measurement, entries[name]) for measurement, entries in found for name in REPORTED if name in entries}
    name = next(name for name in REPORTED if name in known and known[name][1]["value"] is not None)
    measurement, entry = known[name]
    scale = 1 / (dimensions * math.log(2))
    bits = {key: entry.get(key) and scale * entry[key] for key in ENTRY if key != "unit"}
    return measurement, {"bpd": bits | {"unit": f"{METRICS['bpd'].unit} by {name}"}}


def _excesses(found: list[Measured], folder: Path, spec: Run) -> Measured:
    """Return by how much a run's plain estimates are above the annealed one, as means over the points that were annealed."""
    annealed = next((entries["nll_ais"] for _, entries in found if "nll_ais" in entries), None)
    if annealed is None:
        return "", {}  # the audit says that it is missing
    entries: dict[str, dict[str, Any]] = {f"{name}_excess": {"value": None, "unit": annealed["unit"]} for name in PLAIN}
    if annealed["value"] is not None:
        paths = (run_file(name, spec, folder) for name in ("pointwise.npz", "bracket.npz"))
        try:
            plain, bracket = (np.load(path, allow_pickle=False) for path in paths)
            with plain, bracket:
                for name in PLAIN:
                    above = plain[name][bracket["positions"]] - bracket["nll_ais"]
                    stderr = above.std(ddof=1) / math.sqrt(len(above)) if len(above) > 1 else None
                    entries[f"{name}_excess"] |= {"value": above.mean(), "stderr": stderr}
        except (OSError, ValueError, KeyError, IndexError, BadZipFile) as error:
            raise UserError(
                f"{folder}: values at test points cannot be read ({error}); delete measured/ in it and run again"
            ) from None
    return spec.measurement("bracket"), entries


def _metrics(folder: Path, spec: Run) -> list[Measured]:
    """Return all that has been measured of a run."""
    try:
        found = [
            (spec.measurement(rule), read_json(run_file(FOUND_IN[rule], spec, folder))["metrics"])
            for rule in rules_of(spec)
            if rule in FOUND_IN
        ]
        training, provenance = read_json(folder / "training.json"), read_json(folder / "provenance/train.json")
    except (ValueError, KeyError) as error:
        raise UserError(f"{folder}: a result file cannot be read ({error}); delete the folder and run again") from None
    for _, entries in found:
        entries.pop("bpd", None)  # files of version 0.1 have it, always by `nll`
    facts = provenance | training | {"stopped_by_budget": float(training["stopped_by"] == "budget")}
    costs = ("parameters", "epochs", "best_epoch", "stopped_by_budget", "train_seconds", "peak_memory_mb")
    return [*found, ("", {name: {"value": facts[name], "unit": METRICS[name].unit} for name in costs})]
