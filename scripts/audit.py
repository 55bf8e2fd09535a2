"""Check the results of a study: complete, unchanged since they were made, consistent and plausible. Exits 1 on a failure."""

from __future__ import annotations

import argparse
import sys

from mixvae import cli
from mixvae.files import atomic, write_json

SHOWN = 20
"""Failures that are printed; all are in audit.md."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", help="results/<study>, a name in config/ or the path of a config")
    arguments = parser.parse_args()

    from mixvae.audit import audit, find
    from mixvae.audit.findings import FAILURE
    from mixvae.audit.report import line, markdown, summary, table, verdict

    folder, expansion = find(arguments.study)
    findings = audit(folder, expansion)
    failures = findings.of(FAILURE)
    for finding in failures[:SHOWN]:
        print(line(finding), file=sys.stderr)
    counts = summary(findings)
    print("\n".join(table(counts)))
    content = {"study": folder.name, "passed": not failures, "rules": counts}
    write_json(folder / "audit.json", content | {"findings": [finding._asdict() for finding in findings.all]})
    with atomic(folder / "audit.md") as temporary:
        temporary.write_text(markdown(folder.name, findings), encoding="utf-8")
    print(
        f"{folder.name}: {verdict(findings)}; all findings in {folder / 'audit.md'}",
        file=sys.stderr if failures else sys.stdout,
    )
    return int(bool(failures))


cli.run(main)
