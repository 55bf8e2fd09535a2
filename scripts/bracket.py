"""Rule bracket: estimate likelihoods by annealed importance sampling with one run's model, and take the gap to its bound apart."""

from pathlib import Path

from mixvae import cli
from mixvae.study.reading import run_spec


@cli.run
def main(parser: cli.ArgumentParser) -> None:
    parser.add_argument("--run", required=True, type=Path, help="the run's folder, with its trained model")
    parser.add_argument("--data", required=True, type=Path, help="results/datasets/<dataset>")
    parser.add_argument("--settings", default="{}", help="settings of `evaluation` as one JSON text")
    parser.add_argument("--gpu", type=int, default=0, choices=[0, 1], help="1: compute on a GPU")
    arguments = parser.parse_args()
    spec = run_spec(arguments.run, arguments.settings)

    from mixvae.measuring.rule_bracket import bracket_run

    bracket_run(spec, arguments.run, arguments.data, arguments.gpu)
