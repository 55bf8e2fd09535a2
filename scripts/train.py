"""Rule train: fit one run's model and keep the weights of its best epoch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mixvae import cli
from mixvae.errors import UserError
from mixvae.files import read_json
from mixvae.interruption import StopRequest
from mixvae.provenance import code_digest, record, verify_outputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="the run as one JSON text, as in spec.json")
    parser.add_argument("--data", required=True, type=Path, help="results/datasets/<dataset>")
    parser.add_argument("--run", required=True, type=Path, help="the run's folder")
    parser.add_argument("--gpu", type=int, default=0, choices=[0, 1], help="1: compute on a GPU")
    parser.add_argument("--checkpoint-minutes", type=float, default=10.0, help="how often the state is saved")
    arguments = parser.parse_args()
    spec, run = cli.read_spec(arguments.spec, "--spec"), arguments.run
    stop = StopRequest()
    with stop.listening():
        device = cli.torch_device(arguments.gpu, spec.threads)

        from mixvae.checkpoint import Checkpoint, alone
        from mixvae.data import prepared

        data = prepared.load(arguments.data)
        inputs = [arguments.data / "data.npz", arguments.data / "dataset.json"]
        outputs = [run / name for name in ("spec.json", "model.safetensors", "history.csv", "training.json")]
        described = spec.model_dump(mode="json")
        path = run / "provenance/train.json"
        with alone(run, stop) as waited:
            if waited and finished(path, described):
                print("the other process has finished this run", file=sys.stderr)
                return
            with record("train", path, inputs=inputs, outputs=outputs, spec=described) as facts:
                from mixvae.runs import build_for, save_run
                from mixvae.training import Trained, train

                facts["device"] = cli.device_name(device) or facts["device"]
                identity = {"spec": described, "inputs": sorted(facts["inputs"].values()), "code": facts["code_sha256"]}
                identity |= {"torch": facts["packages"]["torch"], "device": device.type}
                attempt = {name: facts[name] for name in ("host", "device", "slurm_job_id", "start")}
                checkpoint = Checkpoint(run, identity, 60 * arguments.checkpoint_minutes, stop, attempt)
                model = build_for(spec, data)
                if spec.model == "constant":
                    trained = Trained(model.state_dict(), [], 0, "closed form")
                else:
                    trained = train(model, data, spec, device, checkpoint)
                save_run(run, spec, model, trained)
                facts["train_seconds"] = trained.history[-1]["seconds"] if trained.history else 0.0
                facts["attempts"] = checkpoint.attempts
            checkpoint.discard()


def finished(path: Path, spec: dict) -> bool:
    """Return whether a record says that this run was trained with this code, and its files agree."""
    try:
        facts = read_json(path)
        verify_outputs(path)
    except (OSError, ValueError, UserError):
        return False
    return facts["spec"] == spec and facts["code_sha256"] == code_digest()


cli.run(main)
