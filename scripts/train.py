"""Rule train: fit one run's model and keep the weights of its best epoch."""

from __future__ import annotations

import argparse
from pathlib import Path

from mixvae import cli
from mixvae.provenance import record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="the run as one JSON text, as in spec.json")
    parser.add_argument("--data", required=True, type=Path, help="results/datasets/<dataset>")
    parser.add_argument("--run", required=True, type=Path, help="the run's folder")
    parser.add_argument("--gpu", type=int, default=0, choices=[0, 1], help="1: compute on a GPU")
    arguments = parser.parse_args()
    spec, run = cli.read_spec(arguments.spec, "--spec"), arguments.run
    device = cli.torch_device(arguments.gpu, spec.threads)

    inputs = [arguments.data / "data.npz", arguments.data / "dataset.json"]
    outputs = [run / name for name in ("spec.json", "model.safetensors", "history.csv", "training.json")]
    with record(
        "train", run / "provenance/train.json", inputs=inputs, outputs=outputs, spec=spec.model_dump(mode="json")
    ) as facts:
        from mixvae.data import prepared
        from mixvae.runs import build_for, save_run
        from mixvae.training import Trained, train

        data = prepared.load(arguments.data)
        model = build_for(spec, data)
        if spec.model == "constant":
            trained = Trained(model.state_dict(), [], 0, "closed form")
        else:
            trained = train(model, data, spec, device)
        save_run(run, spec, model, trained)
        facts["device"] = cli.device_name(device) or facts["device"]
        facts["train_seconds"] = trained.history[-1]["seconds"] if trained.history else 0.0


cli.run(main)
