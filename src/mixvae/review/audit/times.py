"""Times: when and how long the jobs ran by their records, none before what it read was there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from mixvae.review.audit.findings import Findings
from mixvae.review.audit.subject import Job, Subject

CLOCKS = timedelta(minutes=1)
"""By which those of two hosts may differ."""
AMOUNTS = ("seconds", "peak_memory_mb")


def check(subject: Subject, findings: Findings) -> None:
    """Look at every record by itself, then at their order."""
    ends: dict[Job, datetime] = {}
    starts: dict[Job, datetime] = {}
    for step in subject.steps:
        job = step.rule, step.name
        if job in subject.facts:
            with findings.guarded(*job, step.provenance):
                facts = subject.facts[job]
                if wrong := [name for name in AMOUNTS if not facts[name] >= 0]:
                    findings.fail(*job, step.provenance, f"{wrong[0]} {facts[wrong[0]]} is less than nothing")
                    continue
                starts[job], ends[job] = _span(facts)
    for step in subject.steps:
        before = {(maker.rule, maker.name) for file in step.inputs if (maker := subject.makers.get(file))}
        last = max(before & ends.keys(), key=ends.__getitem__, default=None)
        job = step.rule, step.name
        if last and job in starts and starts[job] < ends[last] - CLOCKS:
            message = f"started at {starts[job]}, before {' '.join(last)}, from which it read, ended at {ends[last]}"
            findings.warn(*job, step.provenance, f"{message}; do clocks differ?")


def _span(facts: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """Return when a job started and ended; raises ValueError, TypeError or OverflowError for what are no times."""
    start = datetime.fromisoformat(facts["start"])
    if start.tzinfo is None:
        raise ValueError(f"start {facts['start']} has no time zone")
    return start, start + timedelta(seconds=facts["seconds"])
