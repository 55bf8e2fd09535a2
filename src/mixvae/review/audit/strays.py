"""Check `strays`: all files among the results are made by a rule of the study, since nothing vouches for any other file."""

from mixvae.review.audit.findings import Findings
from mixvae.review.audit.subject import Subject
from mixvae.study.jobs import MEASURED
from mixvae.study.outputs import PAGES

OUTSIDE = ("logs", "benchmarks", "checkpoints", "provenance", MEASURED)
"""Folders that are not searched for strays: other studies share runs and may measure them in other ways."""
AUDIT = ("audit.json", "audit.md")


def check(subject: Subject, findings: Findings) -> None:
    """Warn of every file and folder in the folders of the study, its runs and its data sets that should not be there."""
    known = {*subject.digests, *(subject.folder / name for name in (*AUDIT, *PAGES.values()))}
    folders = {file.parent for file in known}
    # raw/ is there but empty for data that are generated and not read
    folders |= {subject.results / "datasets" / dataset / "raw" for dataset in subject.study.datasets}
    for folder in sorted(folders):
        # a link that leads out of the results is already a finding, and an audit must not look where it leads
        if folder.name in OUTSIDE or folder.is_symlink() or not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            if path not in known and path not in folders and path.name not in OUTSIDE:
                message = "made by no rule of the study, so nothing vouches for it; left from an earlier version, or put there"
                findings.warn(path, message, about=findings.owners.get(folder) or findings.owners.get(folder.parent))
