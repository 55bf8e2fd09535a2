"""Rule latents: write the codes of one run as an h5ad, and the metrics of its latent space."""

from pathlib import Path

from mixvae import cli
from mixvae.study.reading import run_spec


@cli.run
def main(parser: cli.ArgumentParser) -> None:
    parser.add_argument("--run", required=True, type=Path, help="the run's folder, with its trained model")
    parser.add_argument("--data", required=True, type=Path, help="results/datasets/<dataset>")
    parser.add_argument("--settings", default="{}", help="settings of `evaluation` as one JSON text")
    arguments = parser.parse_args()
    spec = run_spec(arguments.run, arguments.settings)

    from mixvae.measuring.rule_latents import encode_run

    encode_run(spec, arguments.run, arguments.data)
