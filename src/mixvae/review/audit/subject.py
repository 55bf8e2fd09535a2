"""`Subject` is a study as an audit reads it from its files: its runs, its jobs, and the records and digests of the jobs."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mixvae.review.audit.findings import Findings
from mixvae.review.audit.reading import Unreadable, digests, parse_mapping, read_arrays, read_mapping, read_rows, read_text
from mixvae.study import DatasetInfo, Expansion, Run, parse_run
from mixvae.study.jobs import MADE_BY, Job, JobKey, all_jobs, run_file
from mixvae.summary.results import StudyRuns

FAILURES = ("run", "rule", "log")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""Valid names of studies and data sets, which are also names of folders."""
MOST_ARRAYS, HEADERS = 32, 1 << 16
"""Bounds on pointwise.npz: arrays of one number per test point, beside one of K numbers; bytes of their names and shapes."""


@dataclass(frozen=True)
class Subject:
    """A study as its files describe it.

    results: The folder that holds the study's folder, runs/ and datasets/.
    study: Its runs and data sets, from study.json as far as it can be read, else from its config.
    jobs: Its jobs.
    missing: The runs that failures.csv lists, with what it says of them.
    facts: The records of the jobs, except those that cannot be read.
    edited: The jobs whose records are not laid out as rules write them.
    """

    results: Path
    study: StudyRuns
    jobs: list[Job]
    missing: dict[str, dict[str, str]]
    expansion: Expansion | None = None
    facts: dict[JobKey, dict[str, Any]] = field(default_factory=dict)
    edited: set[JobKey] = field(default_factory=set)

    @property
    def folder(self) -> Path:
        """The study's own folder."""
        return self.results / self.study.name

    def run_file(self, run: str, name: str) -> Path:
        """Return where a file of a run lies."""
        folder = self.results / "runs" / run
        return run_file(name, self.study.runs[run], folder) if name in MADE_BY else folder / name

    def raw(self, dataset: str) -> list[Path]:
        """Return the raw files of a data set."""
        return [self.results / "datasets" / dataset / "raw" / file for file in self.study.datasets[dataset].files]

    def made_by(self, job: Job) -> list[Path]:
        """Return all files that a job must make, without its record."""
        return [*job.files[:-1], *(self.raw(job.name) if job.rule == "download" else [])]

    @cached_property
    def digests(self) -> dict[Path, str | Unreadable]:
        """The sha256 of every file that a job makes, or the reason why there is none."""
        return digests([*self.makers, *(job.provenance for job in self.jobs)], self.results)

    def there(self, file: Path) -> bool:
        """Return whether a file is there and can be read."""
        return isinstance(self.digests.get(file), str)

    def check_file(self, check: Callable[..., None], file: Path, findings: Findings, *facts: Any) -> None:
        """Call check(*facts, file, subject, findings), guarded, unless the file is missing, which check `complete` reports."""
        if self.there(file):
            with findings.guarded(file):
                check(*facts, file, self, findings)

    @cached_property
    def makers(self) -> dict[Path, Job]:
        """The job that makes each file."""
        return {file: job for job in self.jobs for file in self.made_by(job)}

    def recorded(self, kind: str, rule: str, name: str) -> dict[Path, str]:
        """Return the digests of the "inputs" or "outputs" in a job's record, by where the files lie now; raises TypeError.

        Records name files relative to the folder in which Snakemake ran.
        """
        files = self.facts[rule, name].get(kind)
        if not isinstance(files, dict):
            raise TypeError(f"{kind} must be a mapping of file to sha256")
        return {self._path_now(file): digest for file, digest in files.items()}

    def _path_now(self, name: str) -> Path:
        parts = name.split("/")
        for number, part in enumerate(parts[:-1]):
            if part == "results" and parts[number + 1] in ("runs", "datasets", self.study.name):
                return self.results.joinpath(*parts[number + 1 :])
        return Path(name)

    def pointwise(self, run: str, name: str = "pointwise.npz") -> dict[str, np.ndarray]:
        """Return a run's values at points. Raises Unreadable, also for far more than its spec and data set allow."""
        spec = self.study.runs[run]
        largest = HEADERS + 8 * self.study.datasets[spec.dataset].splits.test * (MOST_ARRAYS + spec.K)
        return read_arrays(self.run_file(run, name), self.results, largest)

    @cached_property
    def present(self) -> dict[str, Run]:
        """The runs that failures.csv does not list."""
        return {run: spec for run, spec in self.study.runs.items() if run not in self.missing}


def read(folder: Path, expansion: Expansion | None) -> tuple[Subject, Findings]:
    """Return the study in a folder and what was found while reading it."""
    results, findings = folder.parent, Findings(folder.name)
    study = _read_study(folder, expansion, findings)
    every = list(all_jobs(folder.name, study.runs, study.datasets, results))
    missing: dict[str, dict[str, str]] = {}
    subject = Subject(results, study, every, missing, expansion)
    packages: dict[str, Any] = {}  # the same for most jobs, and the largest part of a record
    for job in every:
        findings.jobs.append(job.key)
        folders = [job.folder] if job.folder != folder else []
        findings.owners |= dict.fromkeys([*folders, *subject.made_by(job), job.provenance], job.key)
        try:
            text = read_text(job.provenance, results)
            facts = parse_mapping(text)
        except Unreadable:
            continue  # check `intact` reports it
        if text != json.dumps(facts, sort_keys=True, indent=1) + "\n":
            subject.edited.add(job.key)
        if "packages" in facts:
            facts["packages"] = packages.setdefault(json.dumps(facts["packages"]), facts["packages"])
        subject.facts[job.key] = facts
    with findings.guarded(folder / "failures.csv"):
        missing |= {row["run"]: row for row in read_rows(folder / "failures.csv", results, FAILURES)}
    return subject, findings


def _read_study(folder: Path, expansion: Expansion | None, findings: Findings) -> StudyRuns:
    path, name = folder / "study.json", folder.name
    try:
        content = read_mapping(path, folder.parent)
        runs, infos, skipped = content["runs"].items(), content["datasets"].items(), list(content["skipped"])
    except (Unreadable, KeyError, AttributeError, TypeError) as error:
        findings.fail(path, error if isinstance(error, Unreadable) else "not what rule study writes")
        return StudyRuns(name, expansion.runs, [], expansion.datasets) if expansion else StudyRuns(name, {}, [], {})
    if content.get("study") != name:
        findings.fail(path, f"of study {content.get('study')!r}, expected {name!r}")
    datasets: dict[str, DatasetInfo] = {}
    for dataset, info in infos:
        with findings.guarded(path):
            if not NAME.fullmatch(dataset):
                raise ValueError(f"{dataset!r} is no name of a data set")
            datasets[dataset] = DatasetInfo.model_validate(info)
    specs: dict[str, Run] = {}
    for run, value in runs:
        with findings.guarded(path):
            spec = parse_run(value)
            if spec.id != run:
                findings.fail(path, f"run {run} has the spec of {spec.id}")
            if spec.dataset not in datasets:
                raise ValueError(f"run {run}: nothing is said of its data set {spec.dataset!r}")
            if NAME.fullmatch(run):
                specs[run] = spec
    return StudyRuns(name, specs, skipped, datasets)
