"""Rules evaluate and latents measure a trained run on test points and write the results beside its weights."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from mixvae.data import prepared
from mixvae.data.view import to_measure_on
from mixvae.files import atomic, write_json
from mixvae.fitting.devices import device_name, torch_device
from mixvae.fitting.runs import load_run
from mixvae.measuring.entries import entries
from mixvae.measuring.evaluation import evaluate, metrics
from mixvae.measuring.extras import extra_metrics
from mixvae.provenance import record, verify_outputs
from mixvae.study import Run
from mixvae.study.jobs import RUN_FILES


def _recorded(rule: str, spec: Run, run: Path, dataset: Path) -> AbstractContextManager[dict[str, Any]]:
    """Return the context that records a rule; entering it gives the record's facts."""
    inputs = [run / "spec.json", run / "model.safetensors", dataset / "data.npz", dataset / "dataset.json"]
    outputs = [run / name for name in RUN_FILES[rule]]
    described = spec.model_dump(mode="json")
    return record(rule, run / f"provenance/{rule}.json", inputs=inputs, outputs=outputs, spec=described)


def evaluate_run(spec: Run, run: Path, dataset: Path, gpu: int) -> None:
    """Write the importance-weighted likelihoods of a run's test points: likelihood.json and pointwise.npz.

    Arguments:
        run: The run's folder.
        dataset: results/datasets/<dataset>.
        gpu: 1 to compute on a GPU.

    Raises UserError when the weights or the data have changed since they were recorded.
    """
    verify_outputs(run / "provenance/train.json")
    device = torch_device(gpu, spec.threads)
    with _recorded("evaluate", spec, run, dataset) as facts:
        data = prepared.load(dataset)
        model = load_run(run, spec, data).to(device)
        test, _, indices = to_measure_on(data, spec, "test", spec.test_points)
        samples = spec.importance_samples
        pointwise = evaluate(model, test, samples, spec.seed, torch.from_numpy(indices))
        measured = metrics(pointwise, spec.likelihood, test.shape[1])
        measured |= extra_metrics(model, spec, test, data.meta["kind"])
        with atomic(run / "pointwise.npz") as temporary:
            np.savez(temporary, **pointwise)
        result = {"metrics": measured, "points": len(test), "samples_per_component": samples, "K": spec.K}
        write_json(run / "likelihood.json", result)
        facts |= {"device": device_name(device) or facts["device"], "gpu": device.type == "cuda"}


def encode_run(spec: Run, run: Path, dataset: Path) -> None:
    """Write the latent codes of a run's points, and their metrics: latents.h5ad and latent_metrics.json.

    Arguments and errors are those of `evaluate_run`.
    """
    verify_outputs(run / "provenance/train.json")
    torch_device(0, spec.threads)
    with _recorded("latents", spec, run, dataset):
        from mixvae.measuring import labels, latents  # imported here, since rule evaluate does not need scikit-learn

        data = prepared.load(dataset)
        model = load_run(run, spec, data)
        train, y_train, _ = to_measure_on(data, spec, "train", spec.evaluation.probe_points)
        test, y_test, _ = to_measure_on(data, spec, "test", spec.test_points)
        names = data.meta["label_names"]
        with threadpool_limits(spec.threads):
            codes = {part: latents.codes(model, x) for part, x in (("train", train), ("test", test))}
            measured, clusters = labels.label_metrics(model, spec, codes, y_train, test, y_test, len(names))
        measured |= entries({"active_units": latents.active_units(model, test, spec.seed)})
        write_json(run / "latent_metrics.json", {"metrics": measured, "points": len(test), "probe_points": len(train)})
        latents.write_h5ad(run / "latents.h5ad", codes, {"train": y_train, "test": y_test}, clusters, names)
