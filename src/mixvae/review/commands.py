"""The commands `make audit`, `make trace`, `make report` and `make export`: what each writes and prints, and its exit code."""

import sys
from pathlib import Path

from mixvae.errors import UserError
from mixvae.files import atomic
from mixvae.review.audit import audit, examine, pages
from mixvae.review.audit.findings import FAILURE, printable
from mixvae.review.audit.verdict import line, save, summary, table, verdict
from mixvae.review.crate import archive
from mixvae.review.lineage import trace
from mixvae.review.report.page import html
from mixvae.study import Expansion
from mixvae.study.jobs import DATA_FILES, RUN_FILES
from mixvae.study.outputs import PAGES

SHOWN = 20
"""Failures that `make audit` prints; all are in audit.md."""


def audit_study(folder: Path, expansion: Expansion | None) -> int:
    """Audit the results in `folder`, write audit.json and audit.md, and return 1 on any failure."""
    findings = audit(folder, expansion)
    failures = findings.of(FAILURE)
    for finding in failures[:SHOWN]:
        print(line(finding), file=sys.stderr)
    print("\n".join(table(summary(findings))))
    save(folder, findings)
    outcome = printable(f"{folder.name}: {verdict(findings)}; all findings in {folder / 'audit.md'}")
    print(outcome, file=sys.stderr if failures else sys.stdout)
    return int(bool(failures))


def trace_cell(table: str, row: str, column: str) -> None:
    """Print the lineage of one cell of a table. Raises UserError for a cell that is not there."""
    path = "results/<study>/tables/<table>.csv"
    for name, value, meaning in (("TABLE", table, path), ("ROW", row, "as in nll,K=4"), ("COLUMN", column, "as in vamp+iaf")):
        if not value:
            raise UserError(f"{name} is empty; give {meaning}")
    print("\n".join(trace(Path(table), row, column)))


def report_study(folder: Path, expansion: Expansion | None) -> None:
    """Write report.html, even if the study's audit fails; the verdict stands on top."""
    subject, findings = examine(folder, expansion)
    pages.forget(PAGES, findings)
    with pages.making("report", subject) as path, atomic(path) as temporary:
        temporary.write_text(html(subject, findings), encoding="utf-8", errors="replace")
    if findings.of(FAILURE):
        text = f"warning: {folder.name}: audit {verdict(findings)}; the report says so, make audit has all of it"
        print(text, file=sys.stderr)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def export_study(folder: Path, expansion: Expansion | None) -> None:
    """Write crate.zip. Raises UserError when the audit finds more than jobs that failed."""
    subject, findings = examine(folder, expansion)
    pages.forget(["export"], findings)
    save(folder, findings)
    failures = findings.of(FAILURE)
    # the crate has failed runs as failed actions, but must not pass on results that were changed or are not plausible
    holes = [finding for finding in failures if finding.check == "complete" and finding.rule in DATA_FILES | RUN_FILES]
    if wrong := [finding for finding in failures if finding not in holes]:
        raise UserError(f"{folder}: not exported, its audit failed {len(wrong)} times, first: {line(wrong[0])}")
    if holes:
        print(f"warning: {folder}: incomplete, {len(holes)} failures in {folder / 'audit.md'}", file=sys.stderr)
    with pages.making("export", subject) as path:
        files = archive.write(path, subject)
    print(f"{path}: {files} files, {path.stat().st_size / 1e6:.1f} MB")
