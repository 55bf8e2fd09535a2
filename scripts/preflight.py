"""Try out a profile before a study: what `make preflight` calls. On a cluster, trial jobs tell what a compute node has."""

import argparse
from pathlib import Path

from mixvae import cli
from mixvae.cluster import trial
from mixvae.cluster.preflight import preflight


@cli.run
def main(parser: cli.ArgumentParser) -> int:
    parser.add_argument("profile", help="a folder in workflow/profiles/")
    parser.add_argument("--study", help="a name in config/ or a path; without it, what the profile alone asks for is tried")
    parser.add_argument("--wait", type=float, default=300, help="seconds that a trial job may stay pending (%(default)g)")
    # the options of a trial job, which this script starts on a compute node
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--gpu", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.answer:
        trial.answer(arguments.answer, arguments.gpu)
        return 0
    return 0 if preflight(arguments.profile, arguments.study, arguments.wait) else cli.USER_ERROR
