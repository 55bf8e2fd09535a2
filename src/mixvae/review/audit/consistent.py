"""Consistent: one code, one data set and one set of packages made the study, and every run is what its name says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixvae.provenance import code_digest
from mixvae.review.audit.findings import Findings
from mixvae.review.audit.reading import Unreadable, parse_mapping, read_text
from mixvae.review.audit.subject import Job, Subject
from mixvae.study import parse_run_json
from mixvae.study.steps import Step

SHOWN = 5
"""Jobs and packages that a message names."""


def check(subject: Subject, findings: Findings) -> None:
    """Compare the records with each other, and the places in which a run's spec stands."""
    _one_code(subject, findings)
    _one_environment(subject, findings)
    _one_data(subject, findings)
    for run in subject.study.runs:
        path = subject.results / "runs" / run / "spec.json"
        if subject.there(path):
            with findings.guarded("train", run, path):
                _spec(run, path, subject, findings)
    for step in subject.steps:
        _command(step, subject, findings)
    for (rule, name), facts in subject.facts.items():
        expected = subject.study.runs.get(name)
        if expected is None:
            continue
        path = subject.results / "runs" / name / f"provenance/{rule}.json"
        if facts.get("spec") != expected.model_dump(mode="json"):
            findings.fail(rule, name, path, "the spec in the record is not the run's spec in study.json")
        if facts.get("seed") != expected.seed:
            findings.fail(rule, name, path, f"the record is of seed {facts.get('seed')!r}, expected {expected.seed}")


def _command(step: Step, subject: Subject, findings: Findings) -> None:
    """A job is done by its rule's script, but for rule study, which Snakemake does itself."""
    facts = subject.facts.get((step.rule, step.name))
    if facts is None or step.rule == "study":
        return
    command, script = facts.get("command"), f"{step.rule}.py"
    if not isinstance(command, list) or len(command) < 2 or Path(str(command[1])).name != script:
        findings.warn(step.rule, step.name, step.provenance, f"its command is not one of scripts/{script}: {command!r}")


def _spec(run: str, path, subject: Subject, findings: Findings) -> None:
    try:
        text = read_text(path, subject.results)
        content = parse_mapping(text)
    except Unreadable as reason:
        findings.fail("train", run, path, reason)
        return
    if content != subject.study.runs[run].model_dump(mode="json"):
        findings.fail("train", run, path, "not the run's spec in study.json")
    if (found := parse_run_json(text).id) != run:
        findings.fail("train", run, path, f"the spec is that of run {found}")


def _one_code(subject: Subject, findings: Findings) -> None:
    codes = {job: str(facts.get("code_sha256")) for job, facts in subject.facts.items()}
    # every rule has a code of its own: its script and what it imports
    usual = {rule: Counter(code for job, code in codes.items() if job[0] == rule).most_common(1)[0][0] for rule, _ in codes}
    groups = _groups({job: "" if code == usual[job[0]] else code for job, code in codes.items()})
    _compare("code", {code[:12]: jobs for code, jobs in groups.items()}, subject, findings)
    if old := [rule for rule, code in usual.items() if code != code_digest(rule)]:
        message = f"most results of rule {', '.join(old)} were made by other code than this checkout's"
        findings.warn("study", subject.study.name, subject.folder, message)
    changed = [job for job, facts in subject.facts.items() if isinstance(facts.get("git"), dict) and facts["git"].get("dirty")]
    if changed:
        message = f"{len(changed)} jobs ran from a checkout with changes that were not committed: {_named(changed)}"
        findings.note("study", subject.study.name, subject.folder, message)


def _one_environment(subject: Subject, findings: Findings) -> None:
    versions = {
        job: (*sorted(map(str, facts["packages"].items())), f"python {facts.get('python')}")
        for job, facts in subject.facts.items()
        if isinstance(facts.get("packages"), dict)
    }
    groups = _groups(versions)
    usual = set(next(iter(groups), ()))
    named = {}
    for number, (group, jobs) in enumerate(groups.items()):
        differing = sorted(set(group) - usual)
        named[", ".join(differing[:SHOWN]) or f"fewer of them ({number})"] = jobs
    _compare("packages", named, subject, findings)


def _one_data(subject: Subject, findings: Findings) -> None:
    for dataset in subject.study.datasets:
        path = subject.results / "datasets" / dataset / "data.npz"
        used = {}
        for job in subject.facts:
            spec = subject.study.runs.get(job[1])
            if spec and spec.dataset == dataset:
                with findings.guarded(*job, path):
                    used[job] = str(subject.recorded("inputs", *job).get(path))
        _compare(f"data of {dataset}", {digest[:12]: jobs for digest, jobs in _groups(used).items()}, subject, findings)


def _groups(values: Mapping[Job, Any]) -> dict[Any, list[Job]]:
    """Return the jobs by value, the most frequent first."""
    groups: dict[Any, list[Job]] = {}
    for job, value in values.items():
        groups.setdefault(value, []).append(job)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def _compare(what: str, groups: Mapping[str, list[Job]], subject: Subject, findings: Findings) -> None:
    """Warn of every group but the largest."""
    for value, jobs in list(groups.items())[1:]:
        for rule, name in jobs:
            message = f"other {what} than most of the study's jobs: {value}"
            findings.warn(rule, name, subject.folder, message)
        message = f"{what}: {len(jobs)} of {sum(map(len, groups.values()))} jobs differ from the rest ({value}): {_named(jobs)}"
        findings.warn("study", subject.study.name, subject.folder, message)


def _named(jobs: list[Job]) -> str:
    shown = ", ".join(f"{rule} {name}" for rule, name in jobs[:SHOWN])
    return shown + (f" and {len(jobs) - SHOWN} more" if len(jobs) > SHOWN else "")
