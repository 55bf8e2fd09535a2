"""Train a run again in a scratch folder and compare: the same bytes, or within the seed-to-seed spread. Exits 1 if neither."""

import signal

from mixvae import cli


@cli.run
def main(parser: cli.ArgumentParser) -> None:
    parser.add_argument("run", help="a run's id, its beginning, or results/runs/<run>")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # otherwise the training would go on, and its folder stay

    from mixvae.review.verification import verify_run

    verify_run(arguments.run)
