"""Rule evaluate: estimate importance-weighted likelihoods of the test points with one run's model."""

from mixvae import cli
from mixvae.study.reading import run_to_measure


@cli.run
def main(parser: cli.ArgumentParser) -> None:
    spec, arguments = run_to_measure(parser)

    from mixvae.measuring.rule_evaluate import evaluate_run

    evaluate_run(spec, arguments.run, arguments.data, arguments.gpu)
