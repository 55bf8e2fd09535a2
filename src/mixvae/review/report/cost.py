"""Adds up what a study has cost, rule by rule: time, memory and GPU hours, by the records and benchmarks of its jobs."""

import csv
import io
import math
from typing import Any

import pandas as pd

from mixvae.review.audit.reading import Unreadable, read_text
from mixvae.review.audit.subject import Subject
from mixvae.review.lineage.records import HOUR, record_of
from mixvae.study.jobs import Job

SUMMED = ("jobs", "recorded", "hours", "clocked", "gpu_hours", "attempts")
"""How many jobs the study needs, and how many have a record that can be read; their hours, and the same by Snakemake's
benchmarks as far as these are there, which include the start of every process; hours of jobs that were on a GPU; and attempts,
of which a training that was cut off has several."""
OF_ONE_JOB = {"mean": ("seconds", "mean"), "longest": ("seconds", "max"), "memory_mb": ("memory_mb", "max")}


def costs(subject: Subject) -> list[Any]:
    """Return the cost of every rule in the order in which rules are done, and the total: rows named by SUMMED and OF_ONE_JOB."""
    jobs = pd.DataFrame([_cost(job, subject) for job in subject.jobs], columns=["rule", *SUMMED, "seconds", "memory_mb"])
    columns = {name: (name, "sum") for name in SUMMED} | OF_ONE_JOB
    by_rule, total = (frame.groupby("rule", sort=False).agg(**columns) for frame in (jobs, jobs.assign(rule="total")))
    return list(pd.concat([by_rule, total.assign(mean=math.nan)]).reset_index().itertuples(index=False))


def _cost(job: Job, subject: Subject) -> dict[str, Any]:
    cost = {"rule": job.rule, "jobs": 1, "recorded": 0, "clocked": _clocked(job, subject) / HOUR}
    if not (found := record_of(subject, job)):
        return cost
    cost |= {"recorded": 1, "hours": found.hours, "gpu_hours": found.hours * found.gpu, "attempts": 1 + len(found.begun)}
    return cost | {"seconds": found.seconds, "memory_mb": found.peak_memory_mb}


def _clocked(job: Job, subject: Subject) -> float:
    """Return the seconds of a job by its benchmark, 0 where there is none."""
    try:
        text = read_text(job.folder / f"benchmarks/{job.rule}.tsv", subject.results)
        seconds = [float(row["s"]) for row in csv.DictReader(io.StringIO(text), delimiter="\t")]
        return sum(value for value in seconds if math.isfinite(value))
    except (Unreadable, ValueError, KeyError, TypeError, csv.Error):
        return 0.0
