"""Validate a study's config and print its runs, without starting anything."""

from __future__ import annotations

import argparse
from pathlib import Path

from mixvae import cli
from mixvae.study import find_config, load
from mixvae.study.config import describe

AXES = ("dataset", "model", "K", "prior", "flow", "likelihood", "latent", "seed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", help="a name in config/ or a path")
    arguments = parser.parse_args()
    path = find_config(arguments.study, Path("config"))
    expansion = load(path)
    for run in expansion.runs:
        print(run)
    for combination, reason in expansion.skipped:
        print(f"skipped: {', '.join(f'{key}={value}' for key, value in combination.items() if key in AXES)}: {reason}")
    print(f"{path}: {describe(expansion)}")


cli.run(main)
