"""Rule prepare: split, check and binarise a data set."""

from pathlib import Path

from mixvae import cli
from mixvae.data.rules import prepare_dataset


@cli.run
def main(parser: cli.ArgumentParser) -> None:
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--folder", required=True, type=Path, help="results/datasets/<dataset>, with raw.json and raw/ in it")
    arguments = parser.parse_args()
    prepare_dataset(arguments.dataset, arguments.folder)
