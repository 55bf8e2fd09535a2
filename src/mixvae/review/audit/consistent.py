"""Check `consistent`: the same code, data and packages made the whole study, and every run has the spec that its id names."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from mixvae.code import code_digest
from mixvae.review.audit.findings import Findings
from mixvae.review.audit.reading import parse_mapping, read_text
from mixvae.review.audit.subject import Subject
from mixvae.study import parse_run_json
from mixvae.study.jobs import JobKey

SHOWN = 5
"""How many jobs or packages a message names."""


def check(subject: Subject, findings: Findings) -> None:
    """Compare the records with each other, and a run's spec in study.json with that in its folder and records."""
    _code(subject, findings)
    _packages(subject, findings)
    for dataset in subject.study.datasets:
        _data(dataset, subject, findings)
    for run in subject.study.runs:
        subject.check_file(_spec, subject.run_file(run, "spec.json"), findings, run)
    for job in subject.jobs:
        if job.key in subject.facts:
            _record(job.key, job.provenance, subject, findings)


def _record(key: JobKey, path: Path, subject: Subject, findings: Findings) -> None:
    """Check that a record has the run's spec and seed, and the command of its rule's script (rule study has no script)."""
    facts, expected = subject.facts[key], subject.study.runs.get(key[1])
    command, script = facts.get("command"), f"{key[0]}.py"
    if key[0] != "study" and (not isinstance(command, list) or [Path(str(part)).name for part in command[1:2]] != [script]):
        findings.warn(path, f"its command is not one of scripts/{script}: {command!r}")
    if expected and facts.get("spec") != expected.training_spec():
        findings.fail(path, "the spec in the record is not the run's spec in study.json")
    if expected and key[0] != "train" and facts.get("settings") != expected.measuring(key[0]):
        findings.fail(path, f"measured with {facts.get('settings')}, expected {expected.measuring(key[0])} by study.json")
    if expected and facts.get("seed") != expected.seed:
        findings.fail(path, f"the record is of seed {facts.get('seed')!r}, expected {expected.seed}")


def _spec(run: str, path: Path, subject: Subject, findings: Findings) -> None:
    """Check that the spec in a run's folder is that of study.json, and that the folder is called by its id."""
    text = read_text(path, subject.results)
    if parse_mapping(text) != subject.study.runs[run].training_spec():
        findings.fail(path, "not the run's spec in study.json")
    for name, sha256 in subject.study.runs[run].own_files.items():
        if subject.digests.get(subject.run_file(run, name)) != sha256:
            findings.fail(path.with_name(name), f"not the file of the run's own part, whose sha256 is {sha256}", ("train", run))
    if (found := parse_run_json(text).id) != run:
        findings.fail(path, f"the spec is that of run {found}")


def _code(subject: Subject, findings: Findings) -> None:
    """Check that the same code did all jobs of a rule, and that it is the code of this checkout."""
    codes = {key: str(facts.get("code_sha256")) for key, facts in subject.facts.items()}
    usual = {rule: Counter(code for key, code in codes.items() if key[0] == rule).most_common(1)[0][0] for rule, _ in codes}
    _compare("code", {key: "" if code == usual[key[0]] else code[:12] for key, code in codes.items()}, subject, findings)
    if old := [rule for rule, code in usual.items() if code != code_digest(rule)]:
        findings.warn(subject.folder, f"most results of rule {', '.join(old)} were made by other code than this checkout's")
    changed = [key for key, facts in subject.facts.items() if isinstance(facts.get("git"), dict) and facts["git"].get("dirty")]
    if changed:
        message = f"{len(changed)} jobs ran from a checkout with changes that were not committed: {_listed(changed)}"
        findings.note(subject.folder, message)


def _packages(subject: Subject, findings: Findings) -> None:
    versions = {
        key: (*sorted(map(str, facts["packages"].items())), f"python {facts.get('python')}")
        for key, facts in subject.facts.items()
        if isinstance(facts.get("packages"), dict)
    }
    usual = Counter(versions.values()).most_common(1)[0][0] if versions else ()
    differing = {found: sorted(set(found) - set(usual))[:SHOWN] for found in set(versions.values()) - {usual}}
    texts = {found: ", ".join(names) or f"{len(found)} of them" for found, names in differing.items()} | {usual: "the usual"}
    _compare("packages", {key: texts[found] for key, found in versions.items()}, subject, findings)


def _data(dataset: str, subject: Subject, findings: Findings) -> None:
    path = subject.results / "datasets" / dataset / "data.npz"
    used = {}
    for key in subject.facts:
        if (spec := subject.study.runs.get(key[1])) and spec.dataset == dataset:
            with findings.guarded(path, about=key):
                used[key] = str(subject.recorded("inputs", *key).get(path))[:12]
    _compare(f"data of {dataset}", used, subject, findings)


def _compare(what: str, values: Mapping[JobKey, str], subject: Subject, findings: Findings) -> None:
    """Warn of every job whose value is not the most frequent one, and once for each of those values."""
    for value, _ in Counter(values.values()).most_common()[1:]:
        keys = [key for key, found in values.items() if found == value]
        for key in keys:
            findings.warn(subject.folder, f"other {what} than most of the study's jobs: {value}", about=key)
        message = f"{what}: {len(keys)} of {len(values)} jobs differ from the rest ({value}): {_listed(keys)}"
        findings.warn(subject.folder, message)


def _listed(keys: list[JobKey]) -> str:
    return ", ".join(map(" ".join, keys[:SHOWN])) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")
