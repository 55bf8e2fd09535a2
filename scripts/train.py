"""Rule train: fit one run's model and keep the weights of its best epoch."""

from __future__ import annotations

import argparse
import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

from mixvae import cli
from mixvae.errors import UserError
from mixvae.files import read_json, sha256
from mixvae.interruption import StopRequest
from mixvae.progress import say
from mixvae.provenance import code_digest, record, verify_outputs
from mixvae.study.run import read_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="the run as one JSON text, as in spec.json")
    parser.add_argument("--data", required=True, type=Path, help="results/datasets/<dataset>")
    parser.add_argument("--run", required=True, type=Path, help="the run's folder")
    parser.add_argument("--gpu", type=int, default=0, choices=[0, 1], help="1: compute on a GPU")
    parser.add_argument("--checkpoint-minutes", type=float, default=10.0, help="how often the state is saved")
    arguments = parser.parse_args()
    spec, run = read_spec(arguments.spec, "--spec"), arguments.run
    stop = StopRequest()
    with stop.listening():
        from mixvae.fitting import devices

        device = devices.torch_device(arguments.gpu, spec.threads)

        from mixvae.data import prepared
        from mixvae.fitting.checkpoint import Checkpoint, alone, discard
        from mixvae.fitting.runs import build_for, save_run
        from mixvae.fitting.training import Trained, train

        data = prepared.load(arguments.data)
        path = run / "provenance/train.json"
        inputs = [arguments.data / "data.npz", arguments.data / "dataset.json"]
        outputs = [run / name for name in ("spec.json", "model.safetensors", "history.csv", "training.json")]
        described, identity = spec.model_dump(mode="json"), identity_of(spec.canonical(), inputs, device.type)
        with alone(run, stop) as waited:
            if waited and finished(path, identity):
                say("the other process has finished this run")
                discard(run)
                return
            with record("train", path, inputs=inputs, outputs=outputs, spec=described) as facts:
                facts |= {"device": devices.device_name(device) or facts["device"], "gpu": device.type == "cuda"}
                facts["identity"] = identity
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
            discard(run)


def identity_of(spec: str, inputs: list[Path], device: str) -> str:
    """Return a digest of all that the bits of a training depend on, on one kind of machine."""
    text = [spec, *map(sha256, inputs), code_digest(), platform.python_version(), version("torch"), version("numpy"), device]
    return hashlib.sha256("\n".join(text).encode()).hexdigest()[:16]


def finished(path: Path, identity: str) -> bool:
    """Return whether a record says that just this was trained, and its files agree."""
    try:
        facts = read_json(path)
        verify_outputs(path)
    except (OSError, ValueError, UserError):
        return False
    return facts.get("identity") == identity


cli.run(main)
