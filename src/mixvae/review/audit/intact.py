"""Check `intact`: the digests form a chain without a gap, from the published checksums of the raw data to the figures."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from mixvae.code import ROOT
from mixvae.files import sha256
from mixvae.provenance import seal
from mixvae.review.audit.findings import Findings
from mixvae.review.audit.reading import locate, read_mapping
from mixvae.review.audit.subject import Subject
from mixvae.study import catalogue
from mixvae.study.catalogue import RawFile
from mixvae.study.jobs import Job
from mixvae.summary import manifest
from mixvae.summary.published import PATH as PUBLISHED


def check(subject: Subject, findings: Findings) -> None:
    """Follow the chain job by job; files that are missing are reported by check `complete`."""
    for job in subject.jobs:
        with findings.guarded(job.provenance):
            _record(job, subject, findings)
    _ages(subject, findings)
    for dataset in subject.study.datasets:
        _raw_files(dataset, subject, findings)
        folder = subject.results / "datasets" / dataset
        subject.check_file(_listing, folder / "raw.json", findings, subject.raw(dataset))
        subject.check_file(_listing, folder / "dataset.json", findings, [folder / "data.npz"])
    subject.check_file(_manifest, subject.folder / manifest.NAME, findings)


def _record(job: Job, subject: Subject, findings: Findings) -> None:
    facts = subject.facts.get(job.key)
    if facts is None:
        if subject.there(job.provenance):
            findings.fail(job.provenance, "the record is not valid JSON")
        return
    if job.key in subject.edited:
        findings.fail(job.provenance, "the record was edited: it is not laid out as rules write it")
    if facts.get("seal") != seal(facts) and ("seal" in facts or job.rule in manifest.AFTER):
        findings.fail(job.provenance, "the record was edited: its content is not what its seal says")
    if facts.get("rule") != job.rule:
        findings.fail(job.provenance, f"the record is of rule {facts.get('rule')!r}")
    _outputs(job, subject.recorded("outputs", *job.key), subject, findings)
    _inputs(job, subject.recorded("inputs", *job.key), subject, findings)


def _outputs(job: Job, recorded: Mapping[Path, str], subject: Subject, findings: Findings) -> None:
    """Check that every file that the job must make is in its record, and unchanged since."""
    for file in filter(subject.there, subject.made_by(job)):
        found = subject.digests[file]
        if file not in recorded:
            findings.fail(file, "not in the record of the rule that makes it")
        elif found != recorded[file]:
            remedy = f"delete {job.folder if job.name in subject.study.runs else file} and run again"
            findings.fail(file, f"changed since it was made: sha256 expected {recorded[file]} found {found}; {remedy}")
    for file in sorted(recorded.keys() - subject.makers.keys()):
        findings.warn(file, "recorded, but no file that the rule makes for this study", about=job.key)


def _inputs(job: Job, recorded: Mapping[Path, str], subject: Subject, findings: Findings) -> None:
    """Check that a job has read all its input files, and that these were as the jobs before it had made them."""
    failed = {subject.results / "runs" / run for run in subject.missing}
    for file in [*job.inputs, *(subject.raw(job.name) if job.rule == "prepare" else [])]:
        if file not in recorded and failed.isdisjoint(file.parents):
            findings.fail(file, f"{job.provenance.name} does not say that the rule has read it", about=job.key)
    for file, digest in recorded.items():
        if maker := subject.makers.get(file):
            made = subject.recorded("outputs", *maker.key).get(file) if maker.key in subject.facts else digest
            if digest != made:
                message = f"not what rule {maker.rule} has made: sha256 {made} made, {digest} read"
                findings.fail(file, message, about=job.key)
        elif file in subject.digests:
            if digest != subject.digests[file]:
                findings.fail(file, "changed since the rule has read it; make the tables again", about=job.key)
        elif file == PUBLISHED:
            if digest != sha256(ROOT / PUBLISHED):
                findings.warn(file, "another version of the published values than this checkout's", about=job.key)
        else:
            findings.warn(file, "read by the rule, but made by none of the study's", about=job.key)


def _ages(subject: Subject, findings: Findings) -> None:
    """Warn once if files look older than what they were made from: times are easily lost in copying, so they prove nothing."""
    old = []
    for job in subject.jobs:
        made, read = (
            [locate(file, subject.results).stat().st_mtime_ns for file in files if subject.there(file)]
            for files in (job.files, job.inputs)
        )
        if made and read and min(made) < max(read):
            old.append(" ".join(job.key))
    if old:
        jobs = f"{len(old)} jobs, the first {old[0]},"
        findings.warn(subject.folder, f"the files of {jobs} look older than what they were made from; copied?")


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
        message = f"{dataset}: neither in config/datasets.yaml nor a user's own: nothing vouches for its files"
        findings.fail(listing, message, about)
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


def _listing(files: list[Path], listing: Path, subject: Subject, findings: Findings) -> None:
    """Check that raw.json names the digests of the raw data, or dataset.json that of the prepared data."""
    facts = read_mapping(listing, subject.results)
    for path in files:
        named = facts["files"][path.name] if listing.name == "raw.json" else facts
        if named["sha256"] != subject.digests[path]:
            findings.fail(path, f"not the file that {listing.name} names")


def _manifest(path: Path, subject: Subject, findings: Findings) -> None:
    """Check that the manifest, for which the record of rule tabulate vouches, lists every record that the study rests on."""
    listed = read_mapping(path, subject.results)
    records = {job.provenance.relative_to(subject.results).as_posix(): job for job in subject.jobs}
    for file, job in records.items():
        if job.rule in manifest.AFTER or not subject.there(job.provenance):
            continue
        if file not in listed:
            findings.fail(job.provenance, f"the record is not in {path.name}")
        elif listed[file] != subject.digests[job.provenance]:
            message = f"the record was edited or made again since the tables were made; delete {path} and run again"
            findings.fail(job.provenance, message)
    for file in sorted(listed.keys() - records.keys()):
        findings.fail(path, f"lists {file}, which is no record of the study")
