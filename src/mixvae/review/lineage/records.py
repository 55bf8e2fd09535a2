"""Reads for people what a job's provenance record says, and gives the job's command; records of strangers may say anything."""

import math
from typing import Any, NamedTuple

from mixvae.provenance import seal
from mixvae.review.audit.findings import printable
from mixvae.review.audit.reading import Unreadable, digest
from mixvae.review.audit.subject import Subject
from mixvae.study.commands import command
from mixvae.study.jobs import Job

HOUR = 3600.0


class Record(NamedTuple):
    """One job according to its record, in texts that can be printed.

    commit: "unknown" outside a git checkout, and "with changes" if there were any.
    slurm: The SLURM job, or that there was none.
    seconds: The time of its last process, or of all its training if that is longer, since training may have been cut off.
    peak_memory_mb: NaN if it is not known.
    begun: Where and when the attempts before the last began.
    outputs: sha256 by file.
    """

    commit: str
    code: str
    host: str
    device: str
    gpu: bool
    slurm: str
    start: str
    seconds: float
    peak_memory_mb: float
    begun: list[str]
    outputs: dict[str, str]

    @property
    def hours(self) -> float:
        """The `seconds` in hours."""
        return self.seconds / HOUR


def record_of(subject: Subject, job: Job) -> Record | None:
    """Return the record of a job, or None where it cannot be read or is not laid out as rules write it."""
    facts = subject.facts.get(job.key, {})
    try:
        git, slurm = facts.get("git") or {}, facts["slurm_job_id"]
        return Record(
            commit=printable(git.get("commit", "unknown"))[:12] + (" with changes" if git.get("dirty") else ""),
            code=printable(facts["code_sha256"])[:12],
            host=printable(facts["host"]),
            device=printable(facts["device"]),
            gpu=facts.get("gpu") is True,
            slurm=f"SLURM job {printable(slurm)}" if slurm else "no SLURM job",
            start=printable(facts["start"]),
            seconds=max(_finite(facts["seconds"]), _finite(facts.get("train_seconds", 0.0))),
            peak_memory_mb=float(facts.get("peak_memory_mb", math.nan)),
            begun=[
                "{}, SLURM job {}, {}".format(*(printable(attempt.get(name)) for name in ("host", "slurm_job_id", "start")))
                for attempt in (facts.get("attempts") or [])[:-1]
            ],
            outputs={printable(file): printable(digest) for file, digest in facts.get("outputs", {}).items()},
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        return None


def command_of(subject: Subject, job: Job) -> list[str]:
    """Return the command that does a job again; from the job's record it takes only whether a GPU was used."""
    spec, info = subject.study.runs.get(job.name), subject.study.datasets.get(job.name)
    return command(job, spec, info, subject.facts.get(job.key, {}).get("gpu") is True, bool(subject.missing))


def broken(subject: Subject, job: Job) -> str:
    """Return how a job's record was edited or its files differ from it, "" if all is as on record."""
    facts = subject.facts.get(job.key)
    if facts is None:
        return ""
    if job.key in subject.edited or ("seal" in facts and facts["seal"] != seal(facts)):
        return "the record was edited"
    try:
        recorded = subject.recorded("outputs", *job.key)
    except TypeError:
        recorded = {}
    for file in subject.made_by(job):
        found = digest(file, subject.results)
        if isinstance(found, Unreadable):
            return f"{file.name} is not the file on record ({found})"
        if found != recorded.get(file):
            return f"{file.name} was changed"
    return ""


def _finite(value: Any) -> float:
    if not math.isfinite(number := float(value)):
        raise ValueError(f"{value} is no duration")
    return number
