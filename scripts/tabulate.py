"""Rule tabulate: make the tidy metrics and the tables of a study from the results of its runs."""

from pathlib import Path

from mixvae import cli


@cli.run
def main(parser: cli.ArgumentParser) -> None:
    parser.add_argument("--study", required=True, type=Path, help="results/<study>/study.json")
    parser.add_argument("--runs", required=True, type=Path, help="the folder of all runs, results/runs")
    parser.add_argument("--allow-missing", action="store_true", help="make tables with holes when runs have failed")
    arguments = parser.parse_args()

    from mixvae.summary.rules import tabulate_study

    tabulate_study(arguments.study, arguments.runs, arguments.allow_missing)
