"""Rule train: fit one run's model and keep the weights of its best epoch."""

from pathlib import Path

from mixvae import cli, own
from mixvae.interruption import StopRequest
from mixvae.study.reading import read_spec


@cli.run
def main(parser: cli.ArgumentParser) -> None:
    parser.add_argument("--spec", required=True, help="the run as one JSON text, as in spec.json")
    parser.add_argument("--data", required=True, type=Path, help="results/datasets/<dataset>")
    parser.add_argument("--run", required=True, type=Path, help="the run's folder")
    parser.add_argument("--gpu", type=int, default=0, choices=[0, 1], help="1: compute on a GPU")
    parser.add_argument("--checkpoint-minutes", type=float, default=10.0, help="how often the state is saved")
    parser.add_argument("--parts", type=Path, default=own.STORE, help="the folder with users' own parts")
    arguments = parser.parse_args()
    own.offer(arguments.parts)
    spec = read_spec(arguments.spec, "--spec")
    # a signal that comes while torch is being imported is also remembered
    with StopRequest().listening() as stop:
        from mixvae.fitting.rules import train_run

        train_run(spec, arguments.data, arguments.run, arguments.gpu, arguments.checkpoint_minutes, stop)
