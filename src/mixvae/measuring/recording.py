"""Loads the run that is to be measured, checked, and records what a measuring rule makes of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixvae.data import prepared
from mixvae.data.prepared import Prepared
from mixvae.fitting.devices import device_name, torch_device
from mixvae.fitting.runs import load_run
from mixvae.models import Model
from mixvae.provenance import record, verify_outputs
from mixvae.study import Run
from mixvae.study.jobs import RUN_FILES, folder_of, record_of


@contextmanager
def measuring(
    rule: str, spec: Run, run: Path, dataset: Path, gpu: int | None = None
) -> Iterator[tuple[Path, dict[str, Any], Prepared, Model]]:
    """Yield the folder of a measurement, which the body of the `with` fills, the facts of the record, the data and the model.

    Arguments:
        run: The run's folder.
        dataset: results/datasets/<dataset>.
        gpu: 1 to compute on a GPU; None if the rule has no choice of it, and its record says nothing.

    Raises UserError when the weights or the data have changed since they were recorded.
    """
    device = torch_device(gpu or 0, spec.threads)
    verify_outputs(record_of("train", spec, run))
    inputs = [run / "spec.json", run / "model.safetensors", dataset / "data.npz", dataset / "dataset.json"]
    folder = folder_of(rule, spec, run)
    outputs = [folder / name for name in RUN_FILES[rule]]
    folder.mkdir(parents=True, exist_ok=True)
    with record(rule, record_of(rule, spec, run), inputs=inputs, outputs=outputs, spec=spec.training_spec()) as facts:
        facts["settings"] = spec.measuring(rule)
        if gpu is not None:
            facts |= {"device": device_name(device) or facts["device"], "gpu": device.type == "cuda"}
        data = prepared.load(dataset)
        yield folder, facts, data, load_run(run, spec, data).to(device)
