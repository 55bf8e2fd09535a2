"""Answer questions about a user's own part as JSON, a line each; the check of a config asks them of a file it does not know."""

import sys
from pathlib import Path

from mixvae import cli, own


@cli.run
def main(parser: cli.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, help="the part's file")
    arguments = parser.parse_args()
    own.offer(arguments.path)

    from mixvae.cluster.look_part import serve

    serve(sys.stdin, sys.stdout)
