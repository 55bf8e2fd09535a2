"""Finds jobs that Snakemake wrongly takes for unfinished or finished, by their records, and sets the times of files right.

A head process that was killed leaves its jobs marked as incomplete, though they may have ended well since. Results that were
copied, or a clock that jumped, leave files that look older than what they were made from. Snakemake would do all these jobs
again. On the other hand it goes by times, and takes a file for current although its inputs have been made anew since.
"""

import hashlib
import os
from base64 import urlsafe_b64decode
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from mixvae.files import read_json, sha256
from mixvae.provenance import other_input
from mixvae.study.jobs import Job

INCOMPLETE = Path(".snakemake/incomplete")
"""Where Snakemake marks outputs of jobs in flight."""


class Adopted(NamedTuple):
    """The jobs that Snakemake would have taken wrongly for unfinished or finished.

    jobs: Jobs that Snakemake would have done again, though their files are as their records say.
    marked: Those of their files that Snakemake has marked as incomplete.
    outdated: Jobs whose files are removed, since they were made from other files than are there now.
    """

    jobs: list[Job]
    marked: list[Path]
    outdated: list[Job]


def adopt(jobs: Iterable[Job], listing: str) -> Adopted:
    """Find the jobs that are finished and those that only look so, and set the times of files right.

    The marks of Snakemake remain, and the caller removes them. Every record is read, but only files that look wrong are: a
    finished study of 700 runs takes a second.

    Arguments:
        listing: What study.json should say by the present config. Snakemake notices a changed config by notes of its own, which
            results that were copied do not have.
    """
    marks, known = _marked(), {}
    adopted, current = Adopted([], [], []), []
    for job in jobs:
        if job.rule == "study":
            known[str(job.files[0])] = hashlib.sha256(listing.encode()).hexdigest()
            continue
        # a copy may be cut off, so that the record, written last, is not enough
        facts = _record(job) if all(file.is_file() for file in job.files) else None
        if facts is None:
            continue
        if other_input(facts, known):
            # remove all files, since Snakemake makes again only those that a job reads, and study.json, if it is the old input
            for file in (*job.files, *(file for file in job.inputs if file.name == "study.json")):
                file.unlink(missing_ok=True)
            adopted.outdated.append(job)
            continue
        known |= facts["outputs"]
        current.append(job)
    for job in reversed(current):
        marked = [file for file in job.files if file in marks]
        timed = [file for file in (*job.files, job.folder / f"benchmarks/{job.rule}.tsv") if file.is_file()]
        oldest = min(file.stat().st_mtime_ns for file in timed)  # Snakemake looks at benchmarks, too
        newer = [file for file in job.inputs if file.is_file() and file.stat().st_mtime_ns > oldest]
        if not (marked or newer) or not is_as_recorded(job):
            continue
        for file in newer:
            os.utime(file, ns=(oldest, oldest))  # the outputs are not moved forward, since that may be into the future
        adopted.jobs.append(job)
        adopted.marked.extend(marked)
    return adopted


def is_as_recorded(job: Job) -> bool:
    """Return whether a job's files, and the files it was made from, are those of its record."""
    if (facts := _record(job)) is None:
        return False
    recorded = {Path(name): digest for name, digest in (facts["inputs"] | facts["outputs"]).items()}
    needed = {*job.files[:-1], *job.inputs}
    # a record names further files, too: raw data, and inputs that come with the code
    return needed <= recorded.keys() and all(file.is_file() and sha256(file) == digest for file, digest in recorded.items())


def _record(job: Job) -> dict[str, Any] | None:
    """Return a job's record, or None where there is none that can be read."""
    try:
        facts = read_json(job.provenance)
        return facts if isinstance(facts["inputs"] | facts["outputs"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _marked() -> set[Path]:
    """Return the files that Snakemake has marked as incomplete; it names the marks by the files, in base64."""
    found = set()
    for mark in INCOMPLETE.rglob("*") if INCOMPLETE.is_dir() else ():
        name = "".join(part.removeprefix("@") for part in mark.relative_to(INCOMPLETE).parts)
        try:
            found.add(Path(urlsafe_b64decode(name).decode()))
        except ValueError:
            continue  # not Snakemake's
    return found
