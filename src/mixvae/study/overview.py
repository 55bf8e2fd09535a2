"""This file describes a study for a user who checks, plans or starts it."""

from collections.abc import Iterator

from mixvae.files import read_json
from mixvae.study.config import Expansion
from mixvae.study.place import RESULTS
from mixvae.study.reading import parse_run

AXES = ("dataset", "model", "K", "prior", "flow", "likelihood", "latent", "seed")
"""The keys that are shown of a combination that was left out."""


def describe(expansion: Expansion) -> str:
    """Return a line with the numbers of runs, controls and skipped combinations, and the data sets, and one for each change."""
    controls = sum(spec.is_control for spec in expansion.runs.values())
    models = len(expansion.runs) - controls
    names = ", ".join(expansion.datasets)
    first = f"study {expansion.study.study}: {models} runs and {controls} controls on {names}; {len(expansion.skipped)} skipped"
    return "\n".join([first, *changes(expansion)])


def changes(expansion: Expansion) -> Iterator[str]:
    """Yield a line for every own file of a part that has changed since the study ran."""
    try:
        before = read_json(RESULTS / expansion.study.study / "study.json")["runs"]
        known = {file for run in before.values() for file in parse_run(run).own_files}
    except (OSError, ValueError, KeyError):  # there is none, or it is of another version
        return
    names = {_part(file) for file in known}
    files = sorted({file for spec in expansion.runs.values() for file in spec.own_files} - known)
    for file in (file for file in files if _part(file) in names):
        new = sum(file in spec.own_files and run not in before for run, spec in expansion.runs.items())
        yield f"{_part(file)}.py has changed: {new} new runs; those of the file as it was stay in {RESULTS}/runs/"


def _part(file: str) -> str:
    return file.rpartition("-")[0]


def overview(expansion: Expansion) -> Iterator[str]:
    """Yield a line for every run and for every skipped combination."""
    yield from expansion.runs
    for combination, reason in expansion.skipped:
        yield f"skipped: {', '.join(f'{key}={value}' for key, value in combination.items() if key in AXES)}: {reason}"
