"""Chooses the files of a crate, and writes them as one zip, whose bytes depend on the study and the checkout alone."""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from rocrate.model.metadata import BASENAME

from mixvae.code import ROOT
from mixvae.errors import UserError
from mixvae.files import atomic, sha256
from mixvae.progress import say
from mixvae.review.audit.reading import digests, locate
from mixvae.review.audit.subject import Subject
from mixvae.review.crate.actions import add_actions
from mixvae.review.crate.graph import Graph, Item
from mixvae.study import load
from mixvae.study.config_file import read_yaml
from mixvae.summary.results import StudyRuns

WORKFLOW = (
    *("Snakefile", "workflow/rules/*.smk", "workflow/logged.sh", "workflow/profiles/default/*", "scripts/*.py"),
    *("workflow/report/**/*.rst", "src/mixvae/**/*.py", "src/mixvae/**/*.html"),
    *("envs/*", "config/datasets.yaml", "config/published.csv", "Makefile", "pyproject.toml"),
    *("README.md", "LICENSE", "CITATION.cff"),
)
"""The files of the workflow. Other profiles are left out, since they name a user's cluster and account."""
PAGES = ("audit.json", "audit.md", "report.html", "provenance/report.json")
"""Files of a study that are made from its results, so that no record of a job names them; those that are there are copied."""
NOT_COPIED = ("data.npz",)
"""Prepared data; raw data are not copied either."""
CHUNK = 1 << 20


def workflow(study: StudyRuns) -> Iterator[Item]:
    """Yield the files of this checkout that a study is made with, including its config."""
    files = {path for pattern in WORKFLOW for path in ROOT.glob(pattern) if path.is_file()}
    for path in sorted(files | _configs(study)):
        yield Item(path.relative_to(ROOT).as_posix(), path, sha256(path))


def _configs(study: StudyRuns) -> set[Path]:
    """Return the config of a study and the configs that it includes, if they lie in config/ and have the study's runs.

    A config that says where a user's own data or a mirror lie is left out; study.json has the runs without that.
    """
    try:
        expansion = load(ROOT / f"config/{study.name}.yaml")
    except UserError:
        return set()
    if expansion.runs != study.runs or expansion.own or expansion.study.data_mirror:
        return set()
    found: set[Path] = set()
    waiting = [study.name]
    while waiting:
        path = ROOT / f"config/{waiting.pop()}.yaml"
        if path not in found:
            found.add(path)
            waiting += read_yaml(path).get("include", [])
    return found


def results(subject: Subject) -> dict[Path, Item]:
    """Return the files that the study's jobs have made, by path; a link that leads out of the results is left out."""
    files = [file for job in subject.jobs for file in job.files if file.name not in NOT_COPIED]
    known = {file: subject.digests[file] for file in files}
    known |= digests([subject.folder / page for page in PAGES], subject.results)
    return {
        file: Item(f"results/{file.relative_to(subject.results).as_posix()}", locate(file, subject.results), digest)
        for file, digest in known.items()
        if isinstance(digest, str)
    }


def write(path: Path, subject: Subject) -> int:
    """Write the crate of a study that was audited, and return how many files it holds.

    rocrate makes the graph, but not the zip, into which it would put the time of writing. Raises UserError for a file that
    changes meanwhile.
    """
    code, made = list(workflow(subject.study)), results(subject)
    graph = Graph(subject, code, made)
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
    items = sorted([*code, *made.values()])
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
