"""Rule figures: draw the figures of a study."""

from pathlib import Path

from mixvae import cli


@cli.run
def main(parser: cli.ArgumentParser) -> None:
    parser.add_argument(
        "--study", required=True, type=Path, help="results/<study>/study.json; metrics.parquet and tables/ lie beside it"
    )
    parser.add_argument("--results", required=True, type=Path, help="the folder with runs/ and datasets/")
    arguments = parser.parse_args()

    from mixvae.summary.rules import draw_study

    draw_study(arguments.study, arguments.results)
