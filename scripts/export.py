"""Write the results of a study, with its workflow and the record of every job, as a Workflow Run RO-Crate."""

from __future__ import annotations

import argparse
import sys

from mixvae import cli
from mixvae.errors import UserError
from mixvae.study.place import find_results

OF_PARTS = ("download", "prepare", "train", "evaluate", "latents")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", help="results/<study>, a name in config/ or the path of a config")
    arguments = parser.parse_args()
    folder, expansion = find_results(arguments.study)

    from mixvae.review import crate
    from mixvae.review.audit import examine, pages
    from mixvae.review.audit.findings import FAILURE
    from mixvae.review.audit.report import line, save

    subject, findings = examine(folder, expansion)
    pages.forget(["export"], findings)
    save(folder, findings)
    failures = findings.of(FAILURE)
    # a run that failed is told as such, as a failed action; what is changed or cannot be must not be passed on
    holes = [finding for finding in failures if finding.check == "complete" and finding.rule in OF_PARTS]
    if wrong := [finding for finding in failures if finding not in holes]:
        raise UserError(f"{folder}: not exported, its audit failed {len(wrong)} times, first: {line(wrong[0])}")
    if holes:
        print(f"warning: {folder}: incomplete, {len(holes)} failures in {folder / 'audit.md'}", file=sys.stderr)
    with pages.making("export", subject) as path:
        files = crate.write(path, subject)
    print(f"{path}: {files} files, {path.stat().st_size / 1e6:.1f} MB")


cli.run(main)
