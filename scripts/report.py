"""Write the report of a study, results/<study>/report.html: one page that needs no other file and no network.

The audit is part of it, and its verdict stands on top. A study whose audit fails has a report, too: the exit code is 1 only where
there is none.
"""

import argparse

from mixvae import cli
from mixvae.study.place import find_results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="results/<study>, a name in config/ or the path of a config")
    arguments = parser.parse_args()
    folder, expansion = find_results(arguments.study)

    from mixvae.review.commands import report_study

    report_study(folder, expansion)


cli.run(main)
