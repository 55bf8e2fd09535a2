"""Check `pages`: the report and the crate are unchanged since they were made, and were made from the present results."""

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from mixvae.errors import UserError
from mixvae.files import canonical_json, sha256
from mixvae.provenance import record, seal
from mixvae.review.audit.findings import Findings
from mixvae.review.audit.reading import Unreadable, locate, read_mapping
from mixvae.review.audit.subject import Subject
from mixvae.study.outputs import PAGES

MADE_OF = "results_sha256"
"""The name, in a page's record, of the fingerprint of the results that it was made from."""


@contextmanager
def making(rule: str, subject: Subject) -> Iterator[Path]:
    """Yield the path to write a page to, and record the page. Raises UserError if the folder of the record is a link."""
    folder = subject.folder / "provenance"
    if folder.is_symlink():
        raise UserError(f"{folder}: a link; records are written into the study's own folder only")
    path = subject.folder / PAGES[rule]
    with record(rule, folder / f"{rule}.json", inputs=[], outputs=[path]) as facts:
        facts[MADE_OF] = fingerprint(subject)
        yield path


def fingerprint(subject: Subject) -> str:
    """Return one sha256 of all files that the jobs leave, as they are now."""
    found = {file.relative_to(subject.results).as_posix(): str(digest) for file, digest in subject.digests.items()}
    return hashlib.sha256(canonical_json(found).encode()).hexdigest()


def forget(rules: Collection[str], findings: Findings) -> None:
    """Drop the findings about old pages that are about to be replaced, or that the new page does not tell of."""
    findings.jobs = [key for key in findings.jobs if key[0] not in rules]
    findings.all = [finding for finding in findings.all if finding.rule not in rules]


def check(subject: Subject, findings: Findings) -> None:
    """Compare every page that is there with its record, and the record with the results as they are now."""
    for rule, name in PAGES.items():
        path, record_path = subject.folder / name, subject.folder / f"provenance/{rule}.json"
        if os.path.lexists(path):
            findings.jobs.append((rule, subject.study.name))
            findings.owners |= dict.fromkeys((path, record_path), (rule, subject.study.name))
            with findings.guarded(path):
                _page(path, record_path, f"make {rule} again", subject, findings)


def _page(path: Path, record_path: Path, remedy: str, subject: Subject, findings: Findings) -> None:
    try:
        facts, found = read_mapping(record_path, subject.results), sha256(locate(path, subject.results))
    except Unreadable as reason:
        raise Unreadable(f"it or its record {record_path.name}: {reason}; {remedy}") from None
    made = {Path(name).name: digest for name, digest in facts["outputs"].items()}
    if facts.get("seal") != seal(facts):
        findings.fail(record_path, f"the record was edited: its content is not what its seal says; {remedy}")
    if made.get(path.name) != found:
        findings.fail(path, f"changed since it was made: sha256 expected {made.get(path.name)} found {found}; {remedy}")
    if facts.get(MADE_OF) != fingerprint(subject):
        findings.fail(path, f"made of other results than are there now; {remedy}")
