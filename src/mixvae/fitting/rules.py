"""Rule train trains the model of one run, in one process at a time, and writes the run's files."""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

from mixvae.code import code_digest
from mixvae.data import prepared
from mixvae.data.view import to_train_on
from mixvae.errors import UserError
from mixvae.files import read_json, sha256
from mixvae.fitting.checkpoint import Checkpoint, alone, discard
from mixvae.fitting.devices import device_name, torch_device
from mixvae.fitting.runs import build_for, save_run
from mixvae.fitting.training import Trained, train
from mixvae.interruption import StopRequest
from mixvae.models.probe import probe
from mixvae.progress import say
from mixvae.provenance import record, verify_outputs
from mixvae.study import Run
from mixvae.study.jobs import RUN_FILES


def train_run(spec: Run, dataset: Path, run: Path, gpu: int, checkpoint_minutes: float, stop: StopRequest) -> None:
    """Train a run from its last saved state, or from the start, and keep the weights of its best epoch in its folder.

    The state is saved every `checkpoint_minutes`, and when `stop` remembers a signal, after which Interrupted is raised. Raises
    UserError when the data have changed since they were prepared, or training diverges.
    """
    device = torch_device(gpu, spec.threads)
    data = prepared.load(dataset)
    path = run / "provenance/train.json"
    inputs = [dataset / "data.npz", dataset / "dataset.json"]
    outputs = [run / name for name in (*RUN_FILES["train"], *spec.own_files)]
    identity = _identity(spec, inputs, device.type)
    with alone(run, stop) as waited:
        if waited and _finished(path, identity):
            say("the other process has finished this run")
            discard(run)
            return
        with record("train", path, inputs=inputs, outputs=outputs, spec=spec.training_spec()) as facts:
            facts |= {"device": device_name(device) or facts["device"], "gpu": device.type == "cuda", "identity": identity}
            attempt = {name: facts[name] for name in ("host", "device", "slurm_job_id", "start")}
            checkpoint = Checkpoint(run, identity, 60 * checkpoint_minutes, stop, attempt)
            model = build_for(spec, data)
            if spec.is_control:
                trained = Trained(model.state_dict(), [], 0, "closed form")
            else:
                if spec.own_files:
                    probe(model, spec, to_train_on(data, spec), data.meta["kind"])
                trained = train(model, data, spec, device, checkpoint)
            save_run(run, spec, model, trained)
            facts["train_seconds"] = trained.history[-1]["seconds"] if trained.history else 0.0
            facts["attempts"] = checkpoint.attempts
        discard(run)


def _identity(spec: Run, inputs: list[Path], device: str) -> str:
    """Return a digest of everything that determines the bits of a training on one kind of machine."""
    versions = [platform.python_version(), version("torch"), version("numpy")]
    text = [spec.canonical(), *map(sha256, inputs), code_digest("train"), *versions, device]
    return hashlib.sha256("\n".join(text).encode()).hexdigest()[:16]


def _finished(path: Path, identity: str) -> bool:
    """Return whether the record at `path` is of a training with this identity, and the files it lists are unchanged."""
    try:
        verify_outputs(path)
        return read_json(path).get("identity") == identity
    except (OSError, ValueError, UserError):
        return False
