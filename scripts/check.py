"""Validate a study's config and print its runs, without starting anything."""

import argparse
from pathlib import Path

from mixvae import cli
from mixvae.study import find_config, load
from mixvae.study.listing import describe, overview


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", help="a name in config/ or a path")
    arguments = parser.parse_args()
    path = find_config(arguments.study, Path("config"))
    expansion = load(path)
    print(*overview(expansion), f"{path}: {describe(expansion)}", sep="\n")


cli.run(main)
