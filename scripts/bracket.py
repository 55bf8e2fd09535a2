"""Rule bracket: estimate likelihoods by annealed importance sampling with one run's model, and take the gap to its bound apart."""

from mixvae import cli
from mixvae.study.reading import run_to_measure


@cli.run
def main(parser: cli.ArgumentParser) -> None:
    spec, arguments = run_to_measure(parser)

    from mixvae.measuring.rule_bracket import bracket_run

    bracket_run(spec, arguments.run, arguments.data, arguments.gpu)
