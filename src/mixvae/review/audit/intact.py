"""Intact: a chain of digests without a gap, from the published checksums of the raw data to the figures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from mixvae.files import sha256
from mixvae.provenance import ROOT, seal
from mixvae.review.audit.findings import Findings
from mixvae.review.audit.reading import Unreadable, locate, read_mapping
from mixvae.review.audit.subject import Subject
from mixvae.study import catalogue
from mixvae.study.catalogue import RawFile
from mixvae.study.steps import Step
from mixvae.summary import manifest
from mixvae.summary.published import PATH as PUBLISHED

REMEDY = "delete {} and run again"


def check(subject: Subject, findings: Findings) -> None:
    """Follow the chain job by job."""
    for step in subject.steps:
        with findings.guarded(step.rule, step.name, step.provenance):
            _record(step, subject, findings)
    _ages(subject, findings)
    for dataset in subject.study.datasets:
        _published(dataset, subject, findings)
    _manifest(subject, findings)


def _record(step: Step, subject: Subject, findings: Findings) -> None:
    facts = subject.facts.get((step.rule, step.name))
    if facts is None:
        if subject.there(step.provenance):
            findings.fail(step.rule, step.name, step.provenance, "the record is not valid JSON")
        return  # one that is not there is reported as missing
    if (step.rule, step.name) in subject.edited:
        findings.fail(step.rule, step.name, step.provenance, "the record was edited: it is not laid out as rules write it")
    if facts.get("seal") != seal(facts) and ("seal" in facts or step.rule in manifest.AFTER):
        findings.fail(step.rule, step.name, step.provenance, "the record was edited: its content is not what its seal says")
    if facts.get("rule") != step.rule:
        findings.fail(step.rule, step.name, step.provenance, f"the record is of rule {facts.get('rule')!r}")
    _outputs(step, subject.recorded("outputs", step.rule, step.name), subject, findings)
    _inputs(step, subject.recorded("inputs", step.rule, step.name), subject, findings)


def _outputs(step: Step, recorded: Mapping[Path, str], subject: Subject, findings: Findings) -> None:
    """Every file that the rule must leave is recorded, and as recorded."""
    for file in subject.made_by(step):
        found = subject.digests[file]
        if isinstance(found, Unreadable):
            continue  # reported as missing
        if file not in recorded:
            findings.fail(step.rule, step.name, file, "not in the record of the rule that makes it")
        elif found != recorded[file]:
            remedy = REMEDY.format(step.folder if step.name in subject.study.runs else file)
            findings.fail(
                step.rule,
                step.name,
                file,
                f"changed since it was made: sha256 expected {recorded[file]} found {found}; {remedy}",
            )
    for file in (file for file in recorded if file not in subject.makers):
        findings.warn(step.rule, step.name, file, "recorded, but no file that the rule makes for this study")


def _inputs(step: Step, recorded: Mapping[Path, str], subject: Subject, findings: Findings) -> None:
    """What a job has read is what the jobs before it have made, and all of that."""
    failed = {subject.results / "runs" / run for run in subject.missing}
    for file in [*step.inputs, *(subject.raw(step.name) if step.rule == "prepare" else [])]:
        if file not in recorded and file.parent not in failed:
            findings.fail(step.rule, step.name, file, f"{step.provenance.name} does not say that the rule has read it")
    for file, digest in recorded.items():
        if file in subject.makers:
            maker = subject.makers[file]
            if (maker.rule, maker.name) not in subject.facts:
                continue
            made = subject.recorded("outputs", maker.rule, maker.name).get(file)
            if digest != made:
                message = f"not what rule {maker.rule} has made: sha256 {made} made, {digest} read"
                findings.fail(step.rule, step.name, file, message)
        elif file in subject.digests:
            if digest != subject.digests[file]:
                findings.fail(step.rule, step.name, file, "changed since the rule has read it; make the tables again")
        elif file == PUBLISHED:
            if digest != sha256(ROOT / PUBLISHED):
                findings.warn(step.rule, step.name, file, "another version of the published values than this checkout's")
        else:
            findings.warn(step.rule, step.name, file, "read by the rule, but made by none of the study's")


def _ages(subject: Subject, findings: Findings) -> None:
    """Times are easily lost when files are copied, so they prove nothing: one warning for all."""
    younger = [step for step in subject.steps if _looks_old(step, subject)]
    if younger:
        first = f"{younger[0].rule} {younger[0].name}"
        message = f"the files of {len(younger)} jobs, the first {first}, look older than what they were made from; copied?"
        findings.warn("study", subject.study.name, subject.folder, message)


def _looks_old(step: Step, subject: Subject) -> bool:
    there = [[file for file in files if subject.there(file)] for files in (step.files, step.inputs)]
    made, read = ([locate(file, subject.results).stat().st_mtime_ns for file in files] for files in there)
    return bool(made and read) and min(made) < max(read)


def _published(dataset: str, subject: Subject, findings: Findings) -> None:
    """The raw files are those published, or the user's own that the runs' specs name; raw.json and dataset.json say the same."""
    folder = subject.results / "datasets" / dataset
    for file, (algorithm, expected) in _digests(dataset, subject, findings):
        path = folder / "raw" / file
        with findings.guarded("download", dataset, path):
            with locate(path, subject.results).open("rb") as stream:
                found = hashlib.file_digest(stream, algorithm).hexdigest()
            if found != expected:
                findings.fail(
                    "download", dataset, path, f"not the published file: {algorithm} expected {expected} found {found}"
                )
    if subject.there(folder / "raw.json"):
        with findings.guarded("download", dataset, folder / "raw.json"):
            facts = read_mapping(folder / "raw.json", subject.results)
            for path in subject.raw(dataset):
                if facts["files"][path.name]["sha256"] != subject.digests[path]:
                    findings.fail("download", dataset, path, "not the file that raw.json names")
    if subject.there(folder / "dataset.json"):
        with findings.guarded("prepare", dataset, folder / "dataset.json"):
            if read_mapping(folder / "dataset.json", subject.results)["sha256"] != subject.digests[folder / "data.npz"]:
                findings.fail("prepare", dataset, folder / "data.npz", "not the data that dataset.json names")


def _digests(dataset: str, subject: Subject, findings: Findings) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield raw file and (algorithm, digest) of all that can be vouched for."""
    own = {spec.data.sha256 for spec in subject.study.runs.values() if spec.dataset == dataset and spec.data}
    files = subject.study.datasets[dataset].files
    if own:
        if len(own) > 1 or len(files) != 1:
            findings.fail("download", dataset, subject.folder / "study.json", "several files claim to be one data set")
        known = {file: RawFile(sha256=min(own)) for file in files}
    elif dataset in catalogue():
        known = catalogue()[dataset].files
    else:
        message = "neither in config/datasets.yaml nor a user's own: nothing vouches for its files"
        findings.fail("download", dataset, subject.folder / "study.json", message)
        return
    for file in known.keys() ^ files.keys():
        findings.fail(
            "download", dataset, subject.folder / "study.json", f"{file} is a raw file in one of study.json and catalogue"
        )
    for file in known.keys() & files.keys():
        if known[file].digest:
            yield file, known[file].digest
        else:
            path = subject.results / "datasets" / dataset / "raw" / file
            findings.warn("download", dataset, path, "no checksum is published, so nothing vouches for it")


def _manifest(subject: Subject, findings: Findings) -> None:
    """The manifest, which the record of the tables vouches for, has every record that the study rests on."""
    path, name = subject.folder / manifest.NAME, subject.study.name
    if not subject.there(path):
        return  # reported as missing
    try:
        listed = read_mapping(path, subject.results)
    except Unreadable as reason:
        findings.fail("tabulate", name, path, reason)
        return
    records = {step.provenance.relative_to(subject.results).as_posix(): step for step in subject.steps}
    for file, step in records.items():
        found = subject.digests[step.provenance]
        if step.rule in manifest.AFTER or isinstance(found, Unreadable):
            continue
        if file not in listed:
            findings.fail(step.rule, step.name, step.provenance, f"the record is not in {path.name}")
        elif listed[file] != found:
            message = f"the record was edited or made again since the tables were made; delete {path} and run again"
            findings.fail(step.rule, step.name, step.provenance, message)
    for file in sorted(listed.keys() - records.keys()):
        findings.fail("tabulate", name, path, f"lists {file}, which is no record of the study")
