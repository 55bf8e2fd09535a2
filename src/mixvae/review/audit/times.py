"""Check `times`: by the records, no step started before the steps whose files it read had ended, and no time is negative."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from mixvae.review.audit.findings import Findings
from mixvae.review.audit.reading import Unreadable
from mixvae.review.audit.subject import Subject
from mixvae.study.steps import StepKey

CLOCKS = timedelta(minutes=1)
"""How far the clocks of two hosts may differ."""


def check(subject: Subject, findings: Findings) -> None:
    """Check the times in every record, and that the steps before it had ended when it started."""
    ends: dict[StepKey, datetime] = {}
    for step in subject.steps:  # a step comes after all whose files it reads
        if step.key not in subject.facts:
            continue
        with findings.guarded(step.provenance):
            start, end = _span(subject.facts[step.key])
            before = {maker.key for file in step.inputs if (maker := subject.makers.get(file))}
            last = max(before & ends.keys(), key=ends.__getitem__, default=None)
            if last and start < ends[last] - CLOCKS:
                message = f"started at {start}, before {' '.join(last)}, from which it read, ended at {ends[last]}"
                findings.warn(step.provenance, f"{message}; do clocks differ?")
            ends[step.key] = end


def _span(facts: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """Return when a step started and ended; raises an exception if the record's times or amounts are not valid."""
    for name in ("seconds", "peak_memory_mb"):
        if not facts[name] >= 0:
            raise Unreadable(f"{name} {facts[name]} is less than nothing")
    start = datetime.fromisoformat(facts["start"])
    if start.tzinfo is None:
        raise ValueError(f"start {facts['start']} has no time zone")
    return start, start + timedelta(seconds=facts["seconds"])
