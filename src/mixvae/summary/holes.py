"""Finds the holes of a study: runs that are not complete, or whose files are not those on record, and why."""

import re
from pathlib import Path

import pandas as pd

from mixvae.errors import UserError
from mixvae.files import read_json
from mixvae.provenance import other_input, verify_outputs
from mixvae.study.jobs import DATA_FILES, RUN_FILES, folder_of, record_of, rules_of
from mixvae.summary.results import StudyRuns

LOG_LINES = 5
ATTEMPT = re.compile(r"--- \d{4}-\S+Z on ")
"""How workflow/logged.sh begins every attempt."""
SLURM_LOGS = Path(".snakemake/slurm_logs")
"""Where SLURM says why it ended a job: slurm-logdir of the profile."""


def failures(study: StudyRuns, runs: Path) -> pd.DataFrame:
    """Return the runs that are not complete: run, the first rule that is missing, and the last lines of its log.

    If a run could not be trained because its data are missing, rule and log are those of its data set.
    """
    rows = []
    for run, spec in study.runs.items():
        folders = {rule: folder_of(rule, spec, runs / run) for rule in rules_of(spec)}
        missing = [rule for rule in folders if not _all_there(folders[rule], *RUN_FILES[rule], f"provenance/{rule}.json")]
        if missing[:1] == ["train"]:
            folders |= dict.fromkeys(DATA_FILES, runs.parent / "datasets" / spec.dataset)
            missing = [rule for rule, files in DATA_FILES.items() if not _all_there(folders[rule], *files)] + missing
        if missing:
            rows.append({"run": run, "rule": missing[0], "log": last_lines(folders[missing[0]], missing[0])})
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
        logs = "".join(log.read_text(errors="replace") for log in SLURM_LOGS.glob(f"rule_{rule}/*/{job[1]}.log"))
        errors = [line for line in logs.splitlines() if "error: " in line]
        said += [line for line in dict.fromkeys(errors) if line.startswith(("slurm", "srun"))][:LOG_LINES]
    return "\n".join([f"attempt {len(starts)}: {first.removeprefix('--- ')}", *said])


def changed(study: StudyRuns, runs: Path, missing: set[str]) -> pd.DataFrame:
    """Return complete runs whose files are not those on record or do not belong together, in the columns of `failures`."""
    rows = []
    for run in sorted(study.runs.keys() - missing):
        known: dict[str, str] = {}
        for rule in rules_of(study.runs[run]):
            path = record_of(rule, study.runs[run], runs / run)
            try:
                verify_outputs(path)
                # by file name alone, since a rule that is run by hand may name other folders
                record = read_json(path)
                facts = {part: {Path(name).name: record[part][name] for name in record[part]} for part in ("inputs", "outputs")}
                if name := other_input(facts, known):
                    raise UserError(f"{runs / run}: {rule} was made from another {name}; delete the folder and run again")
                known |= facts["inputs"] | facts["outputs"]
            except UserError as error:
                rows.append({"run": run, "rule": rule, "log": str(error)})
                break
    return pd.DataFrame(rows, columns=["run", "rule", "log"])
