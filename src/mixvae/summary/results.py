"""Collect what the runs of a study left behind: the tidy metrics, and what is missing and why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mixvae.errors import UserError
from mixvae.files import read_json
from mixvae.study import AnyRun, DatasetInfo, parse_run
from mixvae.study.steps import DATA_FILES, RUN_FILES, rules_of

COLUMNS = ("run", "dataset", "model", "K", "prior", "flow", "seed", "metric", "value", "stderr", "unit")
LOG_LINES = 5
ATTEMPT = re.compile(r"--- \d{4}-\S+Z on ")
"""How workflow/logged.sh begins every attempt."""
SLURM_LOGS = Path(".snakemake/slurm_logs")
"""Where SLURM says why it ended a job: slurm-logdir of the profile."""


class StudyRuns(NamedTuple):
    """A study as written to study.json: its name, runs by id, combinations skipped with their reasons, and data sets by name."""

    name: str
    runs: dict[str, AnyRun]
    skipped: list[dict[str, Any]]
    datasets: dict[str, DatasetInfo]


def read_study(path: Path) -> StudyRuns:
    """Read results/<study>/study.json."""
    content = read_json(path)
    # JSON turned tuples into lists and back through the same validation as a config
    runs = {run: parse_run(spec) for run, spec in content["runs"].items()}
    datasets = {name: DatasetInfo.model_validate(info) for name, info in content["datasets"].items()}
    return StudyRuns(content["study"], runs, content["skipped"], datasets)


def failures(study: StudyRuns, runs: Path) -> pd.DataFrame:
    """Return the runs that are not complete: run, the first rule that is missing, and the last lines of its log.

    What kept a run from being trained may be its data.
    """
    rows = []
    for run, spec in study.runs.items():
        rules = rules_of(spec)
        missing = [rule for rule in rules if not _all_there(runs / run, *RUN_FILES[rule], f"provenance/{rule}.json")]
        if not missing:
            continue
        folder, rule, dataset = runs / run, missing[0], runs.parent / "datasets" / spec.dataset
        if rule == "train":
            for of_data, files in DATA_FILES.items():
                if not _all_there(dataset, *files):
                    folder, rule = dataset, of_data
                    break
        rows.append({"run": run, "rule": rule, "log": last_lines(folder, rule)})
    return pd.DataFrame(rows, columns=["run", "rule", "log"])


def _all_there(folder: Path, *files: str) -> bool:
    return all((folder / file).is_file() for file in files)


def last_lines(folder: Path, rule: str) -> str:
    """Return when and where a rule's last attempt was made, its last lines, and what SLURM said; or that there was none."""
    log = folder / "logs" / f"{rule}.attempts.log"
    if not log.is_file():
        return "no log: the rule was not started"
    lines = log.read_text(errors="replace").strip().splitlines()
    starts = [number for number, line in enumerate(lines) if ATTEMPT.match(line)]
    if not starts:
        return "\n".join(lines[-LOG_LINES:])
    first, *said = lines[starts[-1] :]
    said = said[-LOG_LINES:]
    if job := re.search(r"SLURM job (\d+)", first):
        own = SLURM_LOGS / f"rule_{rule}" / folder.name / f"{job[1]}.log"
        errors = [line for line in own.read_text(errors="replace").splitlines() if "error: " in line] if own.is_file() else []
        said += [line for line in dict.fromkeys(errors) if line.startswith(("slurm", "srun"))][:LOG_LINES]
    return "\n".join([f"attempt {len(starts)}: {first.removeprefix('--- ')}", *said])


def tidy(study: StudyRuns, runs: Path, missing: set[str]) -> pd.DataFrame:
    """Return every metric of every run that is not `missing`, one row each, with columns COLUMNS."""
    rows = []
    for run, spec in study.runs.items():
        if run in missing:
            continue
        names = (run, spec.dataset, spec.model, spec.K, spec.prior.name, spec.flow.name, spec.seed)
        for metric, entry in _metrics(runs / run, spec).items():
            rows.append((*names, metric, entry["value"], entry["stderr"], entry["unit"]))
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.astype({"value": float, "stderr": float})


def _metrics(folder: Path, spec: AnyRun) -> dict[str, dict[str, Any]]:
    try:
        result = dict(read_json(folder / "likelihood.json")["metrics"])
        if "latents" in rules_of(spec):
            result |= read_json(folder / "latent_metrics.json")["metrics"]
        training, provenance = read_json(folder / "training.json"), read_json(folder / "provenance/train.json")
    except (ValueError, KeyError) as error:
        raise UserError(f"{folder}: a result file cannot be read ({error}); delete the folder and run again") from None
    extra = {
        "parameters": (training["parameters"], "parameters"),
        "epochs": (training["epochs"], "epochs"),
        "best_epoch": (training["best_epoch"], "epochs"),
        "stopped_by_budget": (float(training["stopped_by"] == "budget"), "flag"),
        "train_seconds": (provenance["train_seconds"], "s"),
        "peak_memory_mb": (provenance["peak_memory_mb"], "MB"),
    }
    return result | {name: {"value": value, "stderr": None, "unit": unit} for name, (value, unit) in extra.items()}
