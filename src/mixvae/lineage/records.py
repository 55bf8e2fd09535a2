"""What a provenance record says of a job, as far as people ask; records of strangers may say anything."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

HOUR = 3600.0


class Begun(NamedTuple):
    """An attempt that was cut off."""

    host: str
    slurm_job: str
    start: str


class Job(NamedTuple):
    """One job as its record has it.

    commit: "unknown" outside a git checkout; dirty: with changes.
    slurm_job: "" for none.
    seconds: Of a training that was cut off the last process is clocked, but all of its training.
    peak_memory_mb: NaN where it is not known.
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
    command: list[str]
    outputs: dict[str, str]

    @property
    def hours(self) -> float:
        """How long it took."""
        return self.seconds / HOUR


def job(rule: str, facts: Mapping[str, Any]) -> Job | None:
    """Return what a record says, or None where it is not laid out as rules write it."""
    try:
        git = facts.get("git") or {}
        attempts = (facts.get("attempts") or [])[:-1]
        return Job(
            rule=rule,
            commit=str(git.get("commit", "unknown"))[:12],
            dirty=bool(git.get("dirty")),
            code=str(facts["code_sha256"])[:12],
            host=str(facts["host"]),
            device=str(facts["device"]),
            gpu=facts.get("gpu") is True,
            slurm_job=str(facts["slurm_job_id"] or ""),
            start=str(facts["start"]),
            seconds=max(_finite(facts["seconds"]), _finite(facts.get("train_seconds", 0.0))),
            peak_memory_mb=float(facts.get("peak_memory_mb", math.nan)),
            begun=[Begun(*(str(attempt.get(name)) for name in ("host", "slurm_job_id", "start"))) for attempt in attempts],
            command=[str(part) for part in facts["command"]],
            outputs={str(file): str(digest) for file, digest in facts.get("outputs", {}).items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _finite(value: Any) -> float:
    if not math.isfinite(number := float(value)):
        raise ValueError(f"{value} is no duration")
    return number
