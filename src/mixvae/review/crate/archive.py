"""Writes the crate as one zip, whose bytes depend on the study and the checkout alone."""

import hashlib
import json
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

from rocrate.model.metadata import BASENAME

from mixvae.errors import UserError
from mixvae.files import atomic
from mixvae.progress import say
from mixvae.review.audit.subject import Subject
from mixvae.review.crate import contents
from mixvae.review.crate.actions import add_actions
from mixvae.review.crate.contents import Item
from mixvae.review.crate.graph import Graph

CHUNK = 1 << 20


def write(path: Path, subject: Subject) -> int:
    """Write the crate of a study that was audited, and return how many files it holds.

    rocrate makes the graph, but not the zip, into which it would put the time of writing. Raises UserError for a file that
    changes meanwhile.
    """
    workflow, results = list(contents.workflow(subject.study)), contents.results(subject)
    graph = Graph(subject, workflow, results)
    add_actions(graph)
    crate, others = graph.crate, len(graph.other_code)
    for entity in crate.get_entities():
        _compact(entity.properties())
    if others:
        say(
            f"warning: {others} jobs were done by other code than this checkout's, which the crate holds; their records name it"
        )
    text = json.dumps(crate.metadata.generate(), indent=1, sort_keys=True)
    when = datetime.fromisoformat(crate.root_dataset["datePublished"])
    items = sorted([*workflow, *results.values()])
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr(_entry(BASENAME, when), text)
        for item in items:
            _copy(item, archive, when)
    return len(items) + 1


def _compact(properties: dict[str, Any]) -> None:
    """Write a list of one entry as that entry, as RO-Crate recommends, and leave out empty lists."""
    for name, value in list(properties.items()):
        if value == []:
            del properties[name]
        elif isinstance(value, list) and len(value) == 1:
            properties[name] = value[0]


def _entry(name: str, when: datetime) -> zipfile.ZipInfo:
    year = min(max(when.year, 1980), 2107)  # a zip knows no other years, and some nodes have no clock
    entry = zipfile.ZipInfo(name, (year, when.month, when.day, when.hour, when.minute, when.second))
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    return entry


def _copy(item: Item, archive: zipfile.ZipFile, when: datetime) -> None:
    digest = hashlib.sha256()
    with item.source.open("rb") as source, archive.open(_entry(item.name, when), "w", force_zip64=True) as target:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            target.write(chunk)
    if digest.hexdigest() != item.sha256:
        raise UserError(f"{item.source}: changed while it was exported; try again when nothing writes there")
