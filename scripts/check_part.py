"""Try a prior, flow, network, likelihood or model of a user's own file as those of the library are tried."""

from pathlib import Path

from mixvae import cli


@cli.run
def main(parser: cli.ArgumentParser) -> int:
    parser.add_argument("path", type=Path, help="the part's file")
    parser.add_argument("--settings", default="{}", help="its settings as one JSON text, such as '{\"df\": 4}'")
    arguments = parser.parse_args()

    from mixvae.cluster.check_part import check_part

    return check_part(arguments.path, arguments.settings)
