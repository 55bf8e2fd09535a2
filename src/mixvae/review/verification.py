"""The command `make verify`: does a run's jobs again in a scratch folder, and compares the results with those on record.

They have the same bytes, or are as near as another seed is.
"""

import contextlib
import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import stats

from mixvae.code import ROOT
from mixvae.data.origin import verify_origin
from mixvae.errors import UserError, did_you_mean, one_line
from mixvae.files import canonical_json, read_json, sha256
from mixvae.progress import say
from mixvae.review.audit.findings import printable
from mixvae.review.audit.reading import Unreadable, digest, is_measured, read_mapping, read_text
from mixvae.study import Run, parse_run_json
from mixvae.study.jobs import MEASURED, RUN_FILES, folder_of, record_of, run_file

RunJob = tuple[str, Run]
"""A job of a run: its rule, and the spec with the settings of this measurement."""
RUNS = Path("results/runs")
METRICS = ("elbo", "nll", "nll_miselbo", "nll_matched")
LEVEL = 0.95
CLOCK = "seconds"
"""The column of history.csv that differs between any two trainings."""
EXPLAINING = ("code_sha256", "python", "platform", "device")
"""The entries of a record, beside its packages, that may explain why bytes differ."""
NAMED = 5
"""How many changed packages are named."""


class Judged(NamedTuple):
    """One metric of a run: its value on record, its value after training again, and the interval in which that must lie."""

    metric: str
    recorded: float
    again: float
    low: float
    high: float

    @property
    def within(self) -> bool:
        """Whether the value after training again lies in the interval."""
        return self.low <= self.again <= self.high


def verify_run(name: str) -> None:
    """Train a run again and print how it compares: the same bytes, or within the spread of the seeds.

    Arguments:
        name: A run's id, its beginning, or results/runs/<run>.

    Raises UserError if the results are neither, or if the run on record cannot be trusted to begin with.
    """
    run = find_run(name, RUNS)
    jobs = recorded_jobs(run)
    spec = jobs[0][1]
    data = run.resolve().parent.parent / "datasets" / spec.dataset
    verify_data(run, data)
    verify_origin(data, spec)
    say(f"{data}: its raw files have the published checksums (own data: the recorded one), and give these data")
    outside: list[str] = []
    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        again = Path(scratch) / spec.id
        for name in spec.own_files:
            say(f"warning: {run / name} is executed: a part that the author of this run wrote")
        for rule, measured in jobs:
            _do_again(rule, measured, data, again, run, read_json(record_of(rule, measured, run)))
        same = same_files(run, again, jobs)
        other = differences(*(read_json(record_of("train", spec, folder)) for folder in (run, again)))
        for measured in [measured for rule, measured in jobs if rule == "evaluate"]:
            seeds = siblings(run, measured)
            judged, by = judge(*(run_file("likelihood.json", measured, folder) for folder in (run, again)), seeds)
            print(f"measured with {canonical_json(measured.measuring('evaluate'))}")
            print("\n".join(table(judged)))
            print(f"expected: {by}")
            if far := [row.metric for row in judged if not row.within]:
                outside.append(f"{', '.join(far)} not within the {by}")

    for answer, text in ((True, "identical"), (False, "not identical")):
        if files := [file for file, found in same.items() if found == answer]:
            print(f"{text}: {', '.join(files)}")
    for line in other:
        print(f"differs: {line}")
    if all(same.values()):
        print(f"{run}: byte-identical")
        return
    if not other:
        say("warning: same code, packages and processor, yet other bytes")
    if outside:
        raise UserError(f"{run}: trained again, {'; '.join(outside)}")
    spread = "seed-to-seed spread" if len(seeds) > 1 else "uncertainty over test points (one seed has no spread)"
    print(f"{run}: not byte-identical, but within the {spread}")


def _do_again(rule: str, spec: Run, data: Path, again: Path, run: Path, recorded: Mapping[str, Any]) -> None:
    """Do a job of the run in the folder `again`, on a GPU if it was done on one and this machine has one."""
    command = [sys.executable, ROOT / f"scripts/{rule}.py", "--data", data, "--run", again]
    if rule == "train":
        command += ["--spec", spec.canonical(), "--parts", run]
    else:
        command += ["--settings", canonical_json(spec.measuring(rule))]
    if recorded.get("gpu"):
        if not (here := torch.cuda.is_available()):
            say(f"on record is a GPU ({one_line(recorded['device'])}), but none is here: on the CPU instead")
        command += ["--gpu", int(here)]
    say(f"{rule} again, in {again}")
    if code := subprocess.run([str(part) for part in command]).returncode:
        raise UserError(f"{spec.id}: {rule} again ended with exit code {code}; see its message above")


def find_run(name: str, runs: Path) -> Path:
    """Return the folder that `name` means: a path, a run's id, or the beginning of exactly one id. Raises UserError."""
    if not name:
        raise UserError("RUN is empty; give a run's id, its beginning, or results/runs/<run>")
    if len(Path(name).parts) > 1:
        if not (Path(name) / "spec.json").is_file():
            raise UserError(f"{name}: no run there (no spec.json); RUN is a run's id, its beginning, or results/runs/<run>")
        return Path(name)
    # a folder of version 0.1, which says how its run was measured, has been taken over into another
    ids = sorted(
        path.parent.name for path in runs.glob("*/spec.json") if '"evaluation"' not in path.read_text(errors="replace")
    )
    found = [name] if name in ids else [run for run in ids if run.startswith(name)]
    if len(found) == 1:
        return runs / found[0]
    if found:
        raise UserError(f"{runs}: {len(found)} runs begin with {name!r}: {found[0]}, {found[1]}, ...; give more of the id")
    raise UserError(f"{runs}: no run {name!r}{did_you_mean(name, ids)}")


def recorded_jobs(run: Path) -> list[RunJob]:
    """Return the jobs of a run, once its folder has the spec's id and its files are those on record. Raises UserError."""
    results, path = run.resolve().parents[1], run / "spec.json"
    try:
        spec = parse_run_json(read_text(path, results))
        if spec.id != run.resolve().name:
            raise UserError(f"{path}: the spec of run {spec.id}; the folder must have its name")
        jobs = [("train", spec)]
        for path in sorted(run.glob(f"{MEASURED}/*/provenance/*.json")):
            jobs.append((path.stem, spec.measured_by(read_mapping(path, results)["settings"])))
            if record_of(*jobs[-1], run) != path:
                raise UserError(f"{path}: the record is of another measurement than its folder's name; make audit says more")
        for rule, measured in jobs:
            path = record_of(rule, measured, run)
            _verify_record(path, run, spec, results)
            if rule == "evaluate":
                path = run_file("likelihood.json", measured, run)
                needed = METRICS[:-1] if spec.is_control else METRICS
                if missing := set(needed) - _metrics(path).keys():
                    raise UserError(f"{path}: {min(missing)} is not there or no number; make audit says more")
        if "evaluate" not in dict(jobs):
            raise UserError(f"{run}: no record of rule evaluate, so the run is not finished; make ablation goes on with it")
    except (Unreadable, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({type(error).__name__}: {printable(error)}); make audit says more") from None
    return jobs


def _verify_record(path: Path, run: Path, spec: Run, results: Path) -> None:
    """Check one record of a run, the files that its job made, and the run's files that it read. Raises UserError and others."""
    if not path.is_file():
        raise UserError(f"{path}: no such record, so the run is not finished; make ablation goes on with it")
    facts, rule, folder = read_mapping(path, results), path.stem, path.parent.parent
    if not isinstance(facts["packages"], dict) or not isinstance(facts["device"], str):
        raise UserError(f"{path}: not laid out as rule {rule} writes it; make audit says more")
    if facts["spec"] != spec.training_spec():
        raise UserError(f"{path}: the record is of another spec than spec.json")
    made = {folder / Path(name).name: expected for name, expected in facts["outputs"].items()}
    # not the data
    read = {file: expected for name, expected in facts["inputs"].items() if (file := run / Path(name).name).is_file()}
    for files, what, old in ((made, "made", folder), (read, "has read", path)):
        for file, expected in files.items():
            if (found := digest(file, results)) != expected:
                message = f"not what rule {rule} {what}, sha256 expected {expected} found {found}; delete {old} and run again"
                raise UserError(f"{file}: {message}")


def verify_data(run: Path, data: Path) -> None:
    """Check that the data are those that the run was trained on. Raises UserError."""
    for name, expected in read_json(run / "provenance/train.json")["inputs"].items():
        file = data / Path(name).name
        found = sha256(file) if file.is_file() else "no file"
        if found != expected:
            raise UserError(f"{file}: not the data that {run.name} was trained on, sha256 expected {expected} found {found}")


def siblings(run: Path, measured: Run) -> list[Path]:
    """Return likelihood.json of the runs beside `run`, itself included, whose training differs in the seed alone, by seed.

    Runs that have not been measured in the same way are left out, and those whose files are not those on record.
    """
    found = []
    results = run.resolve().parents[1]
    own = read_mapping(run / "spec.json", results) | {"seed": None}
    for path in run.parent.glob("*/spec.json"):
        try:
            spec = read_mapping(path, results)
            if spec | {"seed": None} == own:
                recorded_jobs(path.parent)
                likelihood = run_file("likelihood.json", measured, path.parent)
                found += [(spec["seed"], likelihood)] * likelihood.is_file()
        except (UserError, Unreadable, OSError, TypeError):
            continue
    return [path for _, path in sorted(found)]


def same_files(run: Path, again: Path, jobs: Sequence[RunJob]) -> dict[str, bool]:
    """Return by file whether it has the same bytes in both folders; in history.csv the clock column is not compared."""
    files = [folder_of(rule, spec, Path()) / name for rule, spec in jobs for name in RUN_FILES[rule]]
    return {str(file): _content(run / file) == _content(again / file) for file in files}


def _content(path: Path) -> Any:
    if path.name == "history.csv":
        with contextlib.suppress(ValueError):  # no table
            return pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns=CLOCK, errors="ignore").to_dict()
    return sha256(path)


def prediction_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return where one more draw lies with probability LEVEL, given S >= 2 draws from the same normal distribution.

    mean ± t sd √(1 + 1/S), with t the quantile of Student's distribution with S - 1 degrees of freedom.
    """
    count, mean = len(values), float(np.mean(values))
    half = stats.t.ppf((1 + LEVEL) / 2, count - 1) * np.std(values, ddof=1) * math.sqrt(1 + 1 / count)
    return mean - float(half), mean + float(half)


def judge(likelihood: Path, again: Path, seeds: Sequence[Path]) -> tuple[list[Judged], str]:
    """Return the judgement of every metric of likelihood.json, and a text that says by which interval they are judged.

    With two or more seeds it is the prediction interval of their recorded values. One seed has no spread, so it is the interval
    of the recorded value over test points, which is wider. (The standard error of the paired differences would be too strict:
    it ignores how much trainings differ, and on the demo study calls every second seed an outlier of the other.)

    Arguments:
        likelihood, again: likelihood.json on record and made again.
        seeds: From `siblings`.
    """
    recorded, found = _metrics(likelihood), _metrics(again)
    names = [name for name in METRICS if name in recorded and name in found]
    if len(seeds) > 1:
        intervals = {name: prediction_interval([_metrics(seed)[name]["value"] for seed in seeds]) for name in names}
        by = f"{LEVEL:.0%} prediction interval for one more seed, from the {len(seeds)} on record"
    else:
        z = float(stats.norm.ppf((1 + LEVEL) / 2))
        halves = {name: z * (recorded[name]["stderr"] or 0.0) for name in names}
        intervals = {name: (recorded[name]["value"] - half, recorded[name]["value"] + half) for name, half in halves.items()}
        by = f"{LEVEL:.0%} interval of the recorded value over test points, as there is no other seed to know the spread from"
    return [Judged(name, recorded[name]["value"], found[name]["value"], *intervals[name]) for name in names], by


def _metrics(path: Path) -> dict[str, dict[str, float]]:
    """Return the metrics of likelihood.json that are numbers. Raises Unreadable."""
    found = read_mapping(path, path.resolve().parent)["metrics"]
    return {name: found[name] for name in METRICS if name in found and is_measured(found[name])}


def differences(recorded: Mapping[str, Any], again: Mapping[str, Any]) -> list[str]:
    """Return where two records of a training differ in code, packages and machine, which may explain why bytes differ."""
    lines = []
    for name in EXPLAINING:
        if recorded.get(name) != again.get(name):
            texts = (printable(facts.get(name)) for facts in (recorded, again))
            was, now = (text[:12] if len(text) == 64 else text for text in texts)
            lines.append(f"{name}: {was} on record, {now} now")
    before, now = recorded["packages"], again["packages"]
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if changed:
        shown = ", ".join(f"{name} {before.get(name, 'none')} to {now.get(name, 'none')}" for name in changed[:NAMED])
        lines.append(f"packages: {printable(shown)}" + (f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""))
    return lines


def table(judged: Sequence[Judged]) -> list[str]:
    """Return the judgement as lines of text."""
    lines = [f"{'metric':12}{'recorded':>12}{'again':>12}{'difference':>12}   expected between"]
    for row in judged:
        numbers = f"{row.recorded:12.4f}{row.again:12.4f}{row.again - row.recorded:+12.2g}   {row.low:.4f} and {row.high:.4f}"
        lines.append(f"{row.metric:12}{numbers}{'' if row.within else '   OUTSIDE'}")
    return lines
