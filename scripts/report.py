"""Write the report of a study, results/<study>/report.html: one page that needs no other file and no network.

The verdict of an audit stands on top. The report is written even if this audit fails: the exit code is 1 only if there is no
report.
"""

from mixvae import cli
from mixvae.study.place import find_results


@cli.run
def main(parser: cli.ArgumentParser) -> None:
    parser.add_argument("study", help="results/<study>, a name in config/ or the path of a config")
    arguments = parser.parse_args()
    folder, expansion = find_results(arguments.study)

    from mixvae.review.commands import report_study

    report_study(folder, expansion)
