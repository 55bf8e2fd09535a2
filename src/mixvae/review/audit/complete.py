"""Check `complete`: every run of the study has all its files and metrics, and failures.csv lists the runs that do not."""

from pathlib import Path

from mixvae.review.audit.findings import Findings
from mixvae.review.audit.reading import read_mapping, read_rows
from mixvae.review.audit.subject import Subject
from mixvae.study import catalogue
from mixvae.study.jobs import Job
from mixvae.study.metrics import FOUND_IN, METRICS, metrics_of
from mixvae.study.own_data import without_source
from mixvae.summary.results import COLUMNS

OPTIONAL = {name for name, metric in METRICS.items() if metric.undefined == "absent"}
NO_CONFIG = "its config is not at hand, so the runs are those that study.json names"


def check(subject: Subject, findings: Findings) -> None:
    """Compare the study's files with what its config and its runs' specs ask for."""
    _config(subject, findings)
    for job in subject.jobs:
        with findings.guarded(job.provenance):
            _files(job, subject, findings)
    _failures(subject, findings)
    for run, spec in subject.study.runs.items():
        for rule, names in metrics_of(spec, subject.study.datasets[spec.dataset]).items():
            subject.check_file(_metrics, subject.run_file(run, FOUND_IN[rule]), findings, names)
    with findings.guarded(subject.folder / "metrics.csv"):
        _metrics_csv(subject.folder / "metrics.csv", subject, findings)


def _config(subject: Subject, findings: Findings) -> None:
    """Check that the runs of study.json are those of the config, and its data sets those of the config or the catalogue."""
    path, study, planned = subject.folder / "study.json", subject.study, subject.expansion
    own = {spec.dataset for spec in study.runs.values() if spec.data}
    known = planned.datasets if planned else {k: v for k, v in catalogue().items() if k not in own}
    for dataset in sorted(study.datasets.keys() & known.keys()):
        one, other = study.datasets[dataset], known[dataset]
        if one.reader and other.reader:  # where a user's own file lies is not compared
            one, other = without_source(one), without_source(other)
        if one != other:
            findings.fail(path, f"what it says of data set {dataset} is not what the config or catalogue says")
    if planned is None:
        findings.note(path, NO_CONFIG)
        return
    for run in sorted(planned.runs.keys() - study.runs.keys()):
        spec, ours = planned.runs[run], {name for run in study.runs.values() for name in run.own_files}
        changed = [name.rpartition("-")[0] for name in spec.own_files if name not in ours]
        why = f"; own part {', '.join(changed)} is another file than the study's" if changed else ""
        findings.fail(path, f"run {run} (seed {spec.seed}) of the config is not in the study{why}")
    for run in sorted(study.runs.keys() - planned.runs.keys()):
        findings.fail(path, f"run {run} is in the study and not in its config")
    for run in sorted(study.runs.keys() & planned.runs.keys()):
        if study.runs[run] != planned.runs[run]:
            findings.fail(path, f"run {run} is not measured as the config says")
    if len(study.skipped) != len(planned.skipped):
        findings.fail(path, f"{len(study.skipped)} combinations skipped, {len(planned.skipped)} by the config")


def _files(job: Job, subject: Subject, findings: Findings) -> None:
    """Check that all files of a job are there; a finding about missing ones includes what failures.csv says of the job."""
    files = [*subject.made_by(job), job.provenance]
    absent = [file for file in files if not subject.there(file) and not _undrawn(file, job, subject)]
    if not absent:
        return
    why = f"{absent[0].name}: {subject.digests[absent[0]]}" + (f", and {len(absent) - 1} more files" * (len(absent) > 1))
    if job.name in subject.study.runs:
        why += f" (seed {subject.study.runs[job.name].seed}); "
        listed = subject.missing.get(job.name)
        why += f"failures.csv: failed at rule {listed['rule']}" if listed else "and failures.csv does not say so"
    findings.fail(absent[0], why)


def _undrawn(file: Path, job: Job, subject: Subject) -> bool:
    """Return whether a file is a figure that may be missing: if all its runs have failed, it is neither drawn nor recorded."""
    outputs = subject.facts.get(job.key, {}).get("outputs", {})
    return bool(subject.missing) and file.parent.name == "figures" and not any(name.endswith(file.name) for name in outputs)


def _failures(subject: Subject, findings: Findings) -> None:
    """Check that every run in failures.csv is one of the study's, and is not complete."""
    path = subject.folder / "failures.csv"
    for run in subject.missing:
        if run not in subject.study.runs:
            findings.fail(path, f"lists {run}, which is no run of the study")
        elif all(subject.there(file) for job in subject.jobs if job.name == run for file in job.files):
            findings.fail(path, f"lists run {run}, all files of which are there; make the tables again")


def _metrics(names: set[str], path: Path, subject: Subject, findings: Findings) -> None:
    """Check that a file has all metrics that are expected of its run, and no other."""
    found = read_mapping(path, subject.results)["metrics"]
    for metric in sorted(names - found.keys()):
        findings.fail(path, f"metric {metric} is not there")
    for metric in sorted(found.keys() - names - OPTIONAL):
        findings.warn(path, f"metric {metric} is not one of such a run's")


def _metrics_csv(path: Path, subject: Subject, findings: Findings) -> None:
    """Check that metrics.csv has rows of every run that failures.csv does not list, and of no other."""
    found = {row["run"] for row in read_rows(path, subject.results, COLUMNS)}
    for run in sorted(found - subject.study.runs.keys()):
        findings.fail(path, f"has values of {run}, which is no run of the study")
    for run in sorted(found & subject.missing.keys()):
        findings.fail(path, f"has values of run {run}, which failures.csv lists")
    for run in sorted(subject.present.keys() - found):
        findings.fail(path, f"has no value of run {run}")
