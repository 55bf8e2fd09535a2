"""Rule latents: write the codes of one run as an h5ad, and the metrics of its latent space."""

from mixvae import cli
from mixvae.study.reading import run_to_measure


@cli.run
def main(parser: cli.ArgumentParser) -> None:
    spec, arguments = run_to_measure(parser, gpu=False)

    from mixvae.measuring.rule_latents import encode_run

    encode_run(spec, arguments.run, arguments.data)
