"""Strays: files among the results that no rule of the study leaves, so that nothing vouches for them."""

from __future__ import annotations

import os
from pathlib import Path

from mixvae.review.audit.findings import Findings
from mixvae.review.audit.pages import PAGES
from mixvae.review.audit.subject import Subject

OUTSIDE = ("logs", "benchmarks", "checkpoints", "provenance")
"""Folders beside the results; of provenance only the study's own records are asked for, as other studies share runs."""
AUDIT = ("audit.json", "audit.md")


def check(subject: Subject, findings: Findings) -> None:
    """Warn of every file and folder in the folders of the study, its runs and its data sets that should not be there."""
    known = {file for step in subject.steps for file in (*subject.made_by(step), step.provenance)}
    known |= {subject.folder / name for name in (*AUDIT, *PAGES.values())}
    folders = {file.parent for file in known}
    # some data are made and not read, so that nothing lies there
    folders |= {subject.results / "datasets" / dataset / "raw" for dataset in subject.study.datasets}
    owners = {step.folder: step for step in subject.steps}
    for folder in sorted(folders):
        if folder.name in OUTSIDE or folder.is_symlink():
            continue  # a link that leads out of the results is a finding already, and what lies there no business of an audit
        owner = owners.get(folder) or owners[folder.parent]
        for entry in _entries(folder):
            path = folder / entry.name
            if path in known or path in folders or entry.name in OUTSIDE:
                continue
            message = "made by no rule of the study, so nothing vouches for it; left from an earlier version, or put there"
            findings.warn(owner.rule, owner.name, path, message)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []  # missing files are reported as such
