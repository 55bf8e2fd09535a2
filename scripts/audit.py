"""Check the results of a study: complete, unchanged since they were made, consistent and plausible. Exits 1 on a failure."""

from __future__ import annotations

import argparse
import sys

from mixvae import cli
from mixvae.study.place import find_results

SHOWN = 20
"""Failures that are printed; all are in audit.md."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", help="results/<study>, a name in config/ or the path of a config")
    arguments = parser.parse_args()
    folder, expansion = find_results(arguments.study)

    from mixvae.review.audit import audit
    from mixvae.review.audit.findings import FAILURE, printable
    from mixvae.review.audit.report import line, save, summary, table, verdict

    findings = audit(folder, expansion)
    failures = findings.of(FAILURE)
    for finding in failures[:SHOWN]:
        print(line(finding), file=sys.stderr)
    print("\n".join(table(summary(findings))))
    save(folder, findings)
    print(
        printable(f"{folder.name}: {verdict(findings)}; all findings in {folder / 'audit.md'}"),
        file=sys.stderr if failures else sys.stdout,
    )
    return int(bool(failures))


cli.run(main)
