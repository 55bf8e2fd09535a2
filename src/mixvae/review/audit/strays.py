"""Check `strays`: there are no files among the results that no rule of the study leaves, as nothing vouches for those."""

from __future__ import annotations

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
    for folder in sorted(folders):
        # a link is a finding already where it leads out of the results, and what lies there is no business of an audit
        if folder.name in OUTSIDE or folder.is_symlink() or not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            if path not in known and path not in folders and path.name not in OUTSIDE:
                message = "made by no rule of the study, so nothing vouches for it; left from an earlier version, or put there"
                findings.warn(path, message, about=findings.owners.get(folder) or findings.owners.get(folder.parent))
