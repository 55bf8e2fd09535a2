"""A finding of an audit has a level, a file, and the job of the study that it is about; `Findings` collects them."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod
from pathlib import Path
from typing import NamedTuple

from mixvae.errors import one_line
from mixvae.review.audit.reading import Unreadable
from mixvae.study.jobs import JobKey

FAILURE, WARNING, NOTE = "failure", "warning", "note"
LEVELS = (FAILURE, WARNING, NOTE)
LONGEST = 500
"""Characters of a message: what a hostile file holds must not flood the report."""


class Finding(NamedTuple):
    """One thing that was found.

    level: One of LEVELS; a failure fails the audit.
    check: The check that found it.
    rule, run: The job it is about: its rule, and the name of its run, data set or study.
    file: Where it was found, as a path.
    """

    level: str
    check: str
    rule: str
    run: str
    file: str
    message: str


def printable(text: object) -> str:
    """Return one line, without characters that a terminal would obey or a file could not hold."""
    line = one_line(" ".join(str(text).split()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


class Findings:
    """All findings about a study.

    A finding is about the job that owns the file, or else about the study as a whole, unless `about` names another job.

    jobs: The keys of all jobs, in the order in which they are done.
    owners: By file and folder, the key of the job that it comes from.
    check: The check that is at work.
    """

    def __init__(self, study: str) -> None:
        self.study = "study", study
        self.jobs: list[JobKey] = []
        self.owners: dict[Path, JobKey] = {}
        self.all: list[Finding] = []
        self.check = "complete"

    def add(self, level: str, file: Path, message: object, about: JobKey | None = None) -> None:
        """Add a finding of a level; `fail`, `warn` and `note` are short for it."""
        key = about or self.owners.get(file, self.study)
        self.all.append(Finding(level, self.check, *map(printable, (*key, file, message))))

    fail, warn = partialmethod(add, FAILURE), partialmethod(add, WARNING)
    note = partialmethod(add, NOTE)  # of what is only worth knowing

    @contextmanager
    def guarded(self, file: Path, about: JobKey | None = None) -> Iterator[None]:
        """Turn any exception in the body into a failure: the files come from strangers and may hold anything."""
        try:
            yield
        except Exception as error:
            unexpected = "" if isinstance(error, Unreadable) else f"cannot be checked: {type(error).__name__}: "
            self.fail(file, f"{unexpected}{error}", about)

    def of(self, level: str) -> list[Finding]:
        """Return the findings of a level."""
        return [finding for finding in self.all if finding.level == level]
