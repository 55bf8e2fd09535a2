"""Complete: every run of the study is there with every file and metric, and what is not is accounted for."""

from __future__ import annotations

from mixvae.review.audit.expected import FOUND_IN, OPTIONAL, expected_metrics
from mixvae.review.audit.findings import Findings
from mixvae.review.audit.reading import Unreadable, read_mapping, read_rows
from mixvae.review.audit.subject import Subject, same_data
from mixvae.study import catalogue
from mixvae.study.steps import Step
from mixvae.summary.results import COLUMNS

NO_CONFIG = "its config is not at hand, so the runs are those that study.json names"


def check(subject: Subject, findings: Findings) -> None:
    """Compare the study's files with what its config and its runs' specs ask for."""
    _config(subject, findings)
    for step in subject.steps:
        _files(step, subject, findings)
    _failures(subject, findings)
    for run, spec in subject.study.runs.items():
        for rule, names in expected_metrics(spec, subject.study.datasets[spec.dataset]).items():
            path = subject.results / "runs" / run / FOUND_IN[rule]
            if subject.there(path):
                with findings.guarded(rule, run, path):
                    _metrics(rule, run, names, path, subject, findings)
    _rows(subject, findings)


def _config(subject: Subject, findings: Findings) -> None:
    """The runs of study.json are those of the config, and its data sets those of the config or the catalogue."""
    name, path = subject.study.name, subject.folder / "study.json"
    own = {spec.dataset for spec in subject.study.runs.values() if spec.data}
    known = subject.expansion.datasets if subject.expansion else {k: v for k, v in catalogue().items() if k not in own}
    for dataset in subject.study.datasets.keys() & known.keys():
        if not same_data(subject.study.datasets[dataset], known[dataset]):
            findings.fail("study", name, path, f"what it says of data set {dataset} is not what the config or catalogue says")
    if subject.expansion is None:
        findings.note("study", name, path, NO_CONFIG)
        return
    expected, found = subject.expansion.runs, subject.study.runs
    for run in expected.keys() - found.keys():
        findings.fail("study", name, path, f"run {run} (seed {expected[run].seed}) of the config is not in the study")
    for run in found.keys() - expected.keys():
        findings.fail("study", name, path, f"run {run} is in the study and not in its config")
    if len(subject.study.skipped) != len(subject.expansion.skipped):
        both = f"{len(subject.study.skipped)} combinations skipped, {len(subject.expansion.skipped)} by the config"
        findings.fail("study", name, path, both)


def _files(step: Step, subject: Subject, findings: Findings) -> None:
    absent = [file for file in [*subject.made_by(step), step.provenance] if not subject.there(file)]
    if not absent or (step.rule == "figures" and all(_undrawn(file, step, subject) for file in absent)):
        return
    why = f"{absent[0].name}: {subject.digests[absent[0]]}" + (f", and {len(absent) - 1} more files" * (len(absent) > 1))
    if step.name in subject.study.runs:
        why += f" (seed {subject.study.runs[step.name].seed}); "
        listed = subject.missing.get(step.name)
        why += f"failures.csv: failed at rule {listed['rule']}" if listed else "and failures.csv does not say so"
    findings.fail(step.rule, step.name, absent[0], why)


def _undrawn(file, step: Step, subject: Subject) -> bool:
    """Where all runs of a figure have failed it is not drawn, nor recorded."""
    outputs = subject.facts.get((step.rule, step.name), {}).get("outputs", {})
    return bool(subject.missing) and file.parent.name == "figures" and not any(name.endswith(file.name) for name in outputs)


def _failures(subject: Subject, findings: Findings) -> None:
    """A run in failures.csv is one of the study's, and not complete."""
    name, path = subject.study.name, subject.folder / "failures.csv"
    by_run: dict[str, list[Step]] = {}
    for step in subject.steps:
        by_run.setdefault(step.name, []).append(step)
    for run in subject.missing:
        if run not in subject.study.runs:
            findings.fail("tabulate", name, path, f"lists {run}, which is no run of the study")
        elif all(subject.there(file) for step in by_run[run] for file in step.files):
            findings.fail("tabulate", name, path, f"lists run {run}, all files of which are there; make the tables again")


def _metrics(rule: str, run: str, names: set[str], path, subject: Subject, findings: Findings) -> None:
    try:
        found = read_mapping(path, subject.results)["metrics"]
    except Unreadable as reason:
        findings.fail(rule, run, path, reason)
        return
    for metric in sorted(names - found.keys()):
        findings.fail(rule, run, path, f"metric {metric} is not there")
    for metric in sorted(found.keys() - names - OPTIONAL):
        findings.warn(rule, run, path, f"metric {metric} is not one of such a run's")


def _rows(subject: Subject, findings: Findings) -> None:
    """metrics.csv has rows of the study's runs, of all that are there, and of no other."""
    name, path = subject.study.name, subject.folder / "metrics.csv"
    try:
        found = {row["run"] for row in read_rows(path, subject.results, COLUMNS)}
    except Unreadable as reason:
        findings.fail("tabulate", name, path, reason)
        return
    for run in sorted(found - subject.study.runs.keys()):
        findings.fail("tabulate", name, path, f"has values of {run}, which is no run of the study")
    for run in sorted(found & subject.missing.keys()):
        findings.fail("tabulate", name, path, f"has values of run {run}, which failures.csv lists")
    for run in sorted(subject.present.keys() - found):
        findings.fail("tabulate", name, path, f"has no value of run {run}")
