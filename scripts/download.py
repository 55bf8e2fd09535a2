"""Rule download: put a data set's raw files into place, verified."""

from pathlib import Path

from mixvae import cli
from mixvae.data.rules import download_dataset


@cli.run
def main(parser: cli.ArgumentParser) -> None:
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--folder", required=True, type=Path, help="results/datasets/<dataset>")
    parser.add_argument("--info", default="", help="a catalogue entry as JSON, for data that the catalogue does not list")
    arguments = parser.parse_args()
    download_dataset(arguments.dataset, arguments.folder, arguments.info)
