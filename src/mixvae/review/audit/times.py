"""Check `times`: by the records, no job started before the jobs whose files it read had ended, and no time is negative."""

from datetime import datetime, timedelta

from mixvae.review.audit.findings import Findings
from mixvae.review.audit.reading import Unreadable
from mixvae.review.audit.subject import Subject
from mixvae.study.jobs import JobKey

CLOCKS = timedelta(minutes=1)
"""How far the clocks of two hosts may differ."""


def check(subject: Subject, findings: Findings) -> None:
    """Check the times in every record, and that the jobs before it had ended when it started."""
    ends: dict[JobKey, datetime] = {}
    for job in subject.jobs:  # a job comes after all whose files it reads
        if job.key not in subject.facts:
            continue
        with findings.guarded(job.provenance):
            facts = subject.facts[job.key]
            for name in ("seconds", "peak_memory_mb"):
                if not facts[name] >= 0:
                    raise Unreadable(f"{name} {facts[name]} is less than nothing")
            start = datetime.fromisoformat(facts["start"])
            if start.tzinfo is None:
                raise ValueError(f"start {facts['start']} has no time zone")
            end = start + timedelta(seconds=facts["seconds"])
            before = {maker.key for file in job.inputs if (maker := subject.makers.get(file))}
            last = max(before & ends.keys(), key=ends.__getitem__, default=None)
            if last and start < ends[last] - CLOCKS:
                message = f"started at {start}, before {' '.join(last)}, from which it read, ended at {ends[last]}"
                findings.warn(job.provenance, f"{message}; do clocks differ?")
            ends[job.key] = end
