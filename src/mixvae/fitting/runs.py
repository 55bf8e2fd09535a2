"""This file writes and reads the folder of a trained run: its spec, weights, history and facts."""

import csv
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from mixvae import own
from mixvae.data.prepared import Prepared
from mixvae.data.view import to_train_on
from mixvae.errors import UserError
from mixvae.files import atomic, write_json
from mixvae.fitting.training import HISTORY_COLUMNS, Trained
from mixvae.models import Model, build
from mixvae.study import Run


def save_run(folder: Path, spec: Run, model: Model, trained: Trained) -> None:
    """Write spec.json, model.safetensors, history.csv, training.json and users' own parts into a run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.cpu().contiguous() for name, tensor in trained.weights.items()}
    with atomic(folder / "model.safetensors") as temporary:
        temporary.write_bytes(save(weights))  # not save_file, which hides why a file could not be written
    with atomic(folder / "history.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, HISTORY_COLUMNS)
        writer.writeheader()
        writer.writerows(trained.history)
    facts = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "epochs": len(trained.history),
        "best_epoch": trained.best_epoch,
        "stopped_by": trained.stopped_by,
    }
    write_json(folder / "training.json", facts)
    for name, sha256 in spec.own_files.items():
        with atomic(folder / name) as temporary:
            temporary.write_bytes(own.content_of(sha256, name))
    write_json(folder / "spec.json", spec.training_spec())


def build_for(spec: Run, data: Prepared) -> Model:
    """Return the model of `spec` with its initial weights, which depend on no points but those it is trained on.

    Raises UserError when the data are of another data set.
    """
    if data.meta["name"] != spec.dataset:
        raise UserError(
            f"the data are of {data.meta['name']}, but the run is on {spec.dataset}; give results/datasets/{spec.dataset}"
        )
    return build(spec, to_train_on(data, spec), tuple(data.meta["shape"]))


def load_run(folder: Path, spec: Run, data: Prepared) -> Model:
    """Return a run's trained model on the CPU, built from the training points and then given the weights in `folder`.

    Raises UserError when these cannot be read.
    """
    if spec.own_files:
        own.offer(folder)
    model, path = build_for(spec, data), folder / "model.safetensors"
    try:
        model.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not this run's weights ({reason}); delete it and run again") from None
    return model
