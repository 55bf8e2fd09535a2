"""Validate a study's config and print its runs, without starting anything."""

from pathlib import Path

from mixvae import cli
from mixvae.study import find_config, load
from mixvae.study.overview import describe, overview


@cli.run
def main(parser: cli.ArgumentParser) -> None:
    parser.add_argument("study", help="a name in config/ or a path")
    arguments = parser.parse_args()
    path = find_config(arguments.study, Path("config"))
    expansion = load(path)
    print(*overview(expansion), f"{path}: {describe(expansion)}", sep="\n")
