"""Write the report of a study, results/<study>/report.html: one page that needs no other file and no network.

The audit is part of it, and its verdict stands on top. A study whose audit fails has a report, too: the exit code is 1 only where
there is none.
"""

from __future__ import annotations

import argparse
import sys

from mixvae import cli
from mixvae.files import atomic
from mixvae.study.place import find_results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="results/<study>, a name in config/ or the path of a config")
    arguments = parser.parse_args()
    folder, expansion = find_results(arguments.study)

    from mixvae.review.audit import examine, pages
    from mixvae.review.audit.findings import FAILURE
    from mixvae.review.audit.report import verdict
    from mixvae.review.report import html

    subject, audited = examine(folder, expansion)
    pages.forget(pages.PAGES, audited)
    with pages.making("report", subject) as path, atomic(path) as temporary:
        temporary.write_text(html(subject, audited), encoding="utf-8", errors="replace")
    if audited.of(FAILURE):
        print(
            f"warning: {folder.name}: audit {verdict(audited)}; the report says so, make audit has all of it", file=sys.stderr
        )
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


cli.run(main)
