"""The figures of a study as data URLs, which the page can contain."""

from base64 import b64encode
from pathlib import Path
from typing import NamedTuple

from mixvae.review.audit.reading import Unreadable, locate
from mixvae.review.audit.subject import Subject
from mixvae.study import outputs

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LARGEST = 1 << 24
"""Bytes of a figure."""


class Figure(NamedTuple):
    """A figure as a data URL, or why it cannot be shown."""

    name: str
    kind: str
    dataset: str
    data: str = ""
    problem: str = ""


def figures(subject: Subject) -> list[Figure]:
    """Return all figures that a study has."""
    found = []
    for name in outputs.figures(subject.study.runs.values(), subject.study.datasets):
        kind, _, dataset = name.partition("_")
        try:
            data = _png(subject.folder / f"figures/{name}.png", subject.results)
            found.append(Figure(name, kind, dataset, data))
        except (Unreadable, OSError) as reason:
            found.append(Figure(name, kind, dataset, problem=str(reason)))
    return found


def _png(path: Path, results: Path) -> str:
    real = locate(path, results)
    if (size := real.stat().st_size) > LARGEST:
        raise Unreadable(f"{size} bytes, more than a figure has")
    content = real.read_bytes()
    if not content.startswith(SIGNATURE):
        raise Unreadable("not a PNG")
    return f"data:image/png;base64,{b64encode(content).decode()}"
