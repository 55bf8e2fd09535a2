"""Check `intact`: the digests form a chain without a gap, from the published checksums of the raw data to the figures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from mixvae.files import sha256
from mixvae.provenance import ROOT, seal
from mixvae.review.audit.findings import Findings
from mixvae.review.audit.reading import locate, read_mapping
from mixvae.review.audit.subject import Subject
from mixvae.study import catalogue
from mixvae.study.catalogue import RawFile
from mixvae.study.steps import Step
from mixvae.summary import manifest
from mixvae.summary.published import PATH as PUBLISHED


def check(subject: Subject, findings: Findings) -> None:
    """Follow the chain step by step; files that are missing are reported by check `complete`."""
    for step in subject.steps:
        with findings.guarded(step.provenance):
            _record(step, subject, findings)
    _ages(subject, findings)
    for dataset in subject.study.datasets:
        _raw_files(dataset, subject, findings)
        _named_digests(dataset, subject, findings)
    path = subject.folder / manifest.NAME
    if subject.there(path):
        with findings.guarded(path):
            _manifest(path, subject, findings)


def _record(step: Step, subject: Subject, findings: Findings) -> None:
    facts = subject.facts.get(step.key)
    if facts is None:
        if subject.there(step.provenance):
            findings.fail(step.provenance, "the record is not valid JSON")
        return
    if step.key in subject.edited:
        findings.fail(step.provenance, "the record was edited: it is not laid out as rules write it")
    if facts.get("seal") != seal(facts) and ("seal" in facts or step.rule in manifest.AFTER):
        findings.fail(step.provenance, "the record was edited: its content is not what its seal says")
    if facts.get("rule") != step.rule:
        findings.fail(step.provenance, f"the record is of rule {facts.get('rule')!r}")
    _outputs(step, subject.recorded("outputs", *step.key), subject, findings)
    _inputs(step, subject.recorded("inputs", *step.key), subject, findings)


def _outputs(step: Step, recorded: Mapping[Path, str], subject: Subject, findings: Findings) -> None:
    """Check that every file that the step must make is in its record, and unchanged since."""
    for file in filter(subject.there, subject.made_by(step)):
        found = subject.digests[file]
        if file not in recorded:
            findings.fail(file, "not in the record of the rule that makes it")
        elif found != recorded[file]:
            remedy = f"delete {step.folder if step.name in subject.study.runs else file} and run again"
            findings.fail(file, f"changed since it was made: sha256 expected {recorded[file]} found {found}; {remedy}")
    for file in sorted(recorded.keys() - subject.makers.keys()):
        findings.warn(file, "recorded, but no file that the rule makes for this study", about=step.key)


def _inputs(step: Step, recorded: Mapping[Path, str], subject: Subject, findings: Findings) -> None:
    """Check that a step has read all its input files, and that these were as the steps before it had made them."""
    failed = {subject.results / "runs" / run for run in subject.missing}
    for file in [*step.inputs, *(subject.raw(step.name) if step.rule == "prepare" else [])]:
        if file not in recorded and file.parent not in failed:
            findings.fail(file, f"{step.provenance.name} does not say that the rule has read it", about=step.key)
    for file, digest in recorded.items():
        if maker := subject.makers.get(file):
            made = subject.recorded("outputs", *maker.key).get(file) if maker.key in subject.facts else digest
            if digest != made:
                message = f"not what rule {maker.rule} has made: sha256 {made} made, {digest} read"
                findings.fail(file, message, about=step.key)
        elif file in subject.digests:
            if digest != subject.digests[file]:
                findings.fail(file, "changed since the rule has read it; make the tables again", about=step.key)
        elif file == PUBLISHED:
            if digest != sha256(ROOT / PUBLISHED):
                findings.warn(file, "another version of the published values than this checkout's", about=step.key)
        else:
            findings.warn(file, "read by the rule, but made by none of the study's", about=step.key)


def _ages(subject: Subject, findings: Findings) -> None:
    """Warn once if files look older than what they were made from: times are easily lost in copying, so they prove nothing."""
    younger = [step for step in subject.steps if _looks_old(step, subject)]
    if younger:
        message = (
            f"the files of {len(younger)} jobs, the first {' '.join(younger[0].key)}, look older than what they were made from"
        )
        findings.warn(subject.folder, f"{message}; copied?")


def _looks_old(step: Step, subject: Subject) -> bool:
    made, read = (
        [locate(file, subject.results).stat().st_mtime_ns for file in files if subject.there(file)]
        for files in (step.files, step.inputs)
    )
    return bool(made and read) and min(made) < max(read)


def _raw_files(dataset: str, subject: Subject, findings: Findings) -> None:
    """Check that the raw files are those published, or the user's own that the runs' specs name."""
    about, listing = ("download", dataset), subject.folder / "study.json"
    own = {spec.data.sha256 for spec in subject.study.runs.values() if spec.dataset == dataset and spec.data}
    files = subject.study.datasets[dataset].files
    if own:
        known = {file: RawFile(sha256=min(own)) for file in files}
        if len(own) > 1 or len(files) != 1:
            findings.fail(listing, "several files claim to be one data set", about)
    elif dataset in catalogue():
        known = catalogue()[dataset].files
    else:
        findings.fail(
            listing, f"{dataset}: neither in config/datasets.yaml nor a user's own: nothing vouches for its files", about
        )
        return
    for file in sorted(known.keys() ^ files.keys()):
        findings.fail(listing, f"{file} is a raw file in one of study.json and catalogue", about)
    for file in sorted(known.keys() & files.keys()):
        path = subject.results / "datasets" / dataset / "raw" / file
        if not known[file].digest:
            findings.warn(path, "no checksum is published, so nothing vouches for it", about)
            continue
        algorithm, expected = known[file].digest
        with findings.guarded(path, about), locate(path, subject.results).open("rb") as stream:
            found = hashlib.file_digest(stream, algorithm).hexdigest()
            if found != expected:
                findings.fail(path, f"not the published file: {algorithm} expected {expected} found {found}", about)


def _named_digests(dataset: str, subject: Subject, findings: Findings) -> None:
    """Check that raw.json and dataset.json name the digests of the raw and of the prepared data."""
    raw, prepared = (subject.results / "datasets" / dataset / name for name in ("raw.json", "dataset.json"))
    if subject.there(raw):
        with findings.guarded(raw):
            facts = read_mapping(raw, subject.results)
            for path in subject.raw(dataset):
                if facts["files"][path.name]["sha256"] != subject.digests[path]:
                    findings.fail(path, "not the file that raw.json names")
    if subject.there(prepared):
        with findings.guarded(prepared):
            data = prepared.with_name("data.npz")
            if read_mapping(prepared, subject.results)["sha256"] != subject.digests[data]:
                findings.fail(data, "not the data that dataset.json names")


def _manifest(path: Path, subject: Subject, findings: Findings) -> None:
    """Check that the manifest, for which the record of rule tabulate vouches, lists every record that the study rests on."""
    listed = read_mapping(path, subject.results)
    records = {step.provenance.relative_to(subject.results).as_posix(): step for step in subject.steps}
    for file, step in records.items():
        if step.rule in manifest.AFTER or not subject.there(step.provenance):
            continue
        if file not in listed:
            findings.fail(step.provenance, f"the record is not in {path.name}")
        elif listed[file] != subject.digests[step.provenance]:
            message = f"the record was edited or made again since the tables were made; delete {path} and run again"
            findings.fail(step.provenance, message)
    for file in sorted(listed.keys() - records.keys()):
        findings.fail(path, f"lists {file}, which is no record of the study")
