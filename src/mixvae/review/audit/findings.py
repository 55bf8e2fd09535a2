"""What an audit finds: about a job of the study, how bad it is, and in which file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mixvae.errors import one_line

FAILURE, WARNING, NOTE = "failure", "warning", "note"
LEVELS = (FAILURE, WARNING, NOTE)
LONGEST = 500
"""Characters of a message: what a hostile file holds must not flood the report."""


class Finding(NamedTuple):
    """One thing that was found.

    level: One of LEVELS; a failure fails the audit.
    check: Which of the checks found it.
    rule: Of the job it is about.
    run: What the job is of: a run, a data set or the study.
    file: Where it was found, as a path.
    """

    level: str
    check: str
    rule: str
    run: str
    file: str
    message: str


def printable(text: object) -> str:
    """Return one line without what a terminal would obey or a file could not hold."""
    line = one_line(" ".join(str(text).split()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


class Findings:
    """Collects findings about the jobs of a study.

    Arguments:
        jobs: (rule, run) of every job, in the order in which they are done.
    """

    def __init__(self, jobs: Iterable[tuple[str, str]]) -> None:
        self.jobs = list(jobs)
        self.all: list[Finding] = []
        self.check = "complete"

    def fail(self, rule: str, run: str, file: Path | str, message: object) -> None:
        """Add a failure."""
        self._add(FAILURE, rule, run, file, message)

    def warn(self, rule: str, run: str, file: Path | str, message: object) -> None:
        """Add a warning."""
        self._add(WARNING, rule, run, file, message)

    def note(self, rule: str, run: str, file: Path | str, message: object) -> None:
        """Add what is only worth knowing."""
        self._add(NOTE, rule, run, file, message)

    def _add(self, level: str, rule: str, run: str, file: Path | str, message: object) -> None:
        texts = (printable(text) for text in (rule, run, file, message))
        self.all.append(Finding(level, self.check, *texts))

    @contextmanager
    def guarded(self, rule: str, run: str, file: Path | str) -> Iterator[None]:
        """Make a failure of whatever goes wrong in the body: the files come from strangers and may hold anything."""
        try:
            yield
        except Exception as error:
            self.fail(rule, run, file, f"cannot be checked: {type(error).__name__}: {error}")

    def of(self, level: str) -> list[Finding]:
        """Return the findings of a level."""
        return [finding for finding in self.all if finding.level == level]
