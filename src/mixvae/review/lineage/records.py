"""Reads for people what a job's provenance record says, and gives the job's command; records of strangers may say anything."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from mixvae.provenance import seal
from mixvae.review.audit.findings import printable
from mixvae.review.audit.reading import Unreadable, digest
from mixvae.review.audit.subject import Subject
from mixvae.study.commands import command
from mixvae.study.jobs import Job

HOUR = 3600.0


class Begun(NamedTuple):
    """An attempt that was cut off."""

    host: str
    slurm_job: str
    start: str


class Record(NamedTuple):
    """One job according to its record, in texts that can be printed.

    commit: "unknown" outside a git checkout; dirty: with changes.
    slurm_job: "" for none.
    seconds: The time of its last process, or of all its training if that is longer, since training may have been cut off.
    peak_memory_mb: NaN if it is not known.
    begun: The attempts before the last.
    outputs: sha256 by file.
    """

    rule: str
    commit: str
    dirty: bool
    code: str
    host: str
    device: str
    gpu: bool
    slurm_job: str
    start: str
    seconds: float
    peak_memory_mb: float
    begun: list[Begun]
    outputs: dict[str, str]

    @property
    def hours(self) -> float:
        """The same time in hours."""
        return self.seconds / HOUR


def record_from(rule: str, facts: Mapping[str, Any]) -> Record | None:
    """Return what a record says, or None where it is not laid out as rules write it."""
    try:
        git = facts.get("git") or {}
        attempts = (facts.get("attempts") or [])[:-1]
        return Record(
            rule=rule,
            commit=printable(git.get("commit", "unknown"))[:12],
            dirty=bool(git.get("dirty")),
            code=printable(facts["code_sha256"])[:12],
            host=printable(facts["host"]),
            device=printable(facts["device"]),
            gpu=facts.get("gpu") is True,
            slurm_job=printable(facts["slurm_job_id"] or ""),
            start=printable(facts["start"]),
            seconds=max(_finite(facts["seconds"]), _finite(facts.get("train_seconds", 0.0))),
            peak_memory_mb=float(facts.get("peak_memory_mb", math.nan)),
            begun=[
                Begun(*(printable(attempt.get(name)) for name in ("host", "slurm_job_id", "start"))) for attempt in attempts
            ],
            outputs={printable(file): printable(digest) for file, digest in facts.get("outputs", {}).items()},
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        return None


def record_of(subject: Subject, job: Job) -> Record | None:
    """Return the record of a job, None where it cannot be read."""
    return record_from(job.rule, subject.facts.get(job.key, {}))


def command_of(subject: Subject, job: Job) -> list[str]:
    """Return the command that does a job again; from the job's record it takes only whether a GPU was used."""
    spec, info = subject.study.runs.get(job.name), subject.study.datasets.get(job.name)
    return command(job, spec, info, subject.facts.get(job.key, {}).get("gpu") is True, bool(subject.missing))


def broken(subject: Subject, job: Job) -> str:
    """Return how a job's record was edited or its files differ from it, "" if all is as on record."""
    facts = subject.facts.get(job.key)
    if facts is None:
        return ""
    try:
        recorded = subject.recorded("outputs", *job.key)
    except TypeError:
        recorded = {}
    if job.key in subject.edited or ("seal" in facts and facts["seal"] != seal(facts)):
        return "the record was edited"
    for file in subject.made_by(job):
        found = digest(file, subject.results)
        if found != recorded.get(file):
            return (
                f"{file.name} is not the file on record ({found})"
                if isinstance(found, Unreadable)
                else f"{file.name} was changed"
            )
    return ""


def _finite(value: Any) -> float:
    if not math.isfinite(number := float(value)):
        raise ValueError(f"{value} is no duration")
    return number
