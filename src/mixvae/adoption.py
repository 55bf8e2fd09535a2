"""Finished results that Snakemake does not know to be finished: found by their provenance, and made known to it.

A head process that was killed leaves its jobs marked as incomplete, though they may have ended well since; results that were
copied, or a clock that jumped, leave files that look older than what they were made from. Snakemake would do all of it again.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mixvae.files import read_json, sha256
from mixvae.spec.steps import Step

INCOMPLETE = Path(".snakemake/incomplete")
"""Where Snakemake marks outputs of jobs in flight."""


class Adopted(NamedTuple):
    """What was found good: steps whose files are as their provenance says, and those of their files marked as incomplete."""

    steps: list[Step]
    marked: list[Path]


def adopt(steps: Iterable[Step]) -> Adopted:
    """Find the finished steps that Snakemake would do again for their marks or times alone, and set the times right.

    Only what looks wrong is read: a finished study of 700 runs takes a second. Whoever runs Snakemake removes the marks.
    """
    marks = _marked()
    adopted = Adopted([], [])
    for step in steps:
        # as a copy may be cut off, the provenance, which is written last, is not enough
        # what a study consists of is in its config, and soon written again
        if step.rule == "study" or not all(file.is_file() for file in [*step.files, *step.inputs]):
            continue
        marked = [file for file in step.files if file in marks]
        newest = max((file.stat().st_mtime_ns for file in step.inputs), default=0)
        timed = [file for file in (*step.files, step.folder / f"benchmarks/{step.rule}.tsv") if file.is_file()]
        older = [file for file in timed if file.stat().st_mtime_ns < newest]  # Snakemake looks at benchmarks, too
        if not (marked or older) or not is_as_recorded(step):
            continue
        for file in older:
            os.utime(file, ns=(newest, newest))
        adopted.steps.append(step)
        adopted.marked.extend(marked)
    return adopted


def is_as_recorded(step: Step) -> bool:
    """Return whether a step's files, and the files it was made from, are those of its provenance."""
    try:
        facts = read_json(step.provenance)
        recorded = {Path(name): digest for name, digest in (facts["inputs"] | facts["outputs"]).items()}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    needed = {*step.files[:-1], *step.inputs}
    # a record names further files, too: raw data, and inputs that come with the code
    return needed <= recorded.keys() and all(file.is_file() and sha256(file) == digest for file, digest in recorded.items())


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
