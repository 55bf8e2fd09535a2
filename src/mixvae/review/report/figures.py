"""Reads the figures of a study as data URLs, which the report's page can contain."""

from base64 import b64encode
from typing import NamedTuple

from mixvae.review.audit.reading import Unreadable, read_bytes
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
    data: str
    problem: str


def figures(subject: Subject) -> list[Figure]:
    """Return all figures that a study has."""
    found = []
    for name in outputs.figures(subject.study.runs.values(), subject.study.datasets):
        kind, _, dataset = name.partition("_")
        data = problem = ""
        try:
            content = read_bytes(subject.folder / f"figures/{name}.png", subject.results, LARGEST)
            if not content.startswith(SIGNATURE):
                raise Unreadable("not a PNG")
            data = f"data:image/png;base64,{b64encode(content).decode()}"
        except Unreadable as reason:
            problem = str(reason)
        found.append(Figure(name, kind, dataset, data, problem))
    return found
