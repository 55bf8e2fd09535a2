"""What a study has cost, rule by rule: time, memory and GPU hours, by the records and benchmarks of its jobs."""

import csv
import io
import math
from typing import NamedTuple

from mixvae.review.audit.reading import Unreadable, read_text
from mixvae.review.audit.subject import Subject
from mixvae.review.lineage.records import HOUR, record_of
from mixvae.study.jobs import Job


class Cost(NamedTuple):
    """The cost of the jobs of a rule.

    jobs: How many jobs the study needs; recorded: how many have a record that can be read.
    hours: The sum over jobs; clocked: the same by Snakemake's benchmarks, as far as these are there, which include the start of
        every process.
    mean, longest: Seconds of one job.
    memory_mb: The largest peak.
    gpu_hours: Hours of jobs that were on a GPU.
    attempts: The sum of attempts over jobs; a training that was cut off has several.
    """

    rule: str
    jobs: int
    recorded: int
    hours: float
    clocked: float
    mean: float
    longest: float
    memory_mb: float
    gpu_hours: float
    attempts: int


def costs(subject: Subject) -> list[Cost]:
    """Return the cost of every rule, in the order in which rules are done, and the total."""
    by_rule: dict[str, list[Job]] = {}
    for job in subject.jobs:
        by_rule.setdefault(job.rule, []).append(job)
    found = [_cost(rule, jobs, subject) for rule, jobs in by_rule.items()]
    total = Cost(
        "total",
        sum(cost.jobs for cost in found),
        sum(cost.recorded for cost in found),
        sum(cost.hours for cost in found),
        sum(cost.clocked for cost in found),
        math.nan,
        max((cost.longest for cost in found), default=math.nan),
        max((cost.memory_mb for cost in found if not math.isnan(cost.memory_mb)), default=math.nan),
        sum(cost.gpu_hours for cost in found),
        sum(cost.attempts for cost in found),
    )
    return [*found, total]


def _cost(rule: str, jobs: list[Job], subject: Subject) -> Cost:
    records = [found for job in jobs if (found := record_of(subject, job))]
    seconds = [found.seconds for found in records]
    memory = [found.peak_memory_mb for found in records if not math.isnan(found.peak_memory_mb)]
    return Cost(
        rule,
        len(jobs),
        len(records),
        sum(seconds) / HOUR,
        sum(_clocked(job, subject) for job in jobs) / HOUR,
        sum(seconds) / len(records) if records else math.nan,
        max(seconds, default=math.nan),
        max(memory, default=math.nan),
        sum(found.hours for found in records if found.gpu),
        sum(1 + len(found.begun) for found in records),
    )


def _clocked(job: Job, subject: Subject) -> float:
    """Return the seconds of a job by its benchmark, 0 where there is none."""
    try:
        text = read_text(job.folder / f"benchmarks/{job.rule}.tsv", subject.results)
        seconds = [float(row["s"]) for row in csv.DictReader(io.StringIO(text), delimiter="\t")]
        return sum(value for value in seconds if math.isfinite(value))
    except (Unreadable, ValueError, KeyError, TypeError, csv.Error):
        return 0.0
