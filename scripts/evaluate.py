"""Rule evaluate: importance-weighted likelihoods of the test points of one run."""

from __future__ import annotations

import argparse
from pathlib import Path

from mixvae import cli
from mixvae.files import atomic, write_json
from mixvae.provenance import record, verify_outputs
from mixvae.study.run import run_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, type=Path, help="the run's folder, with its trained model")
    parser.add_argument("--data", required=True, type=Path, help="results/datasets/<dataset>")
    parser.add_argument("--gpu", type=int, default=0, choices=[0, 1], help="1: compute on a GPU")
    arguments = parser.parse_args()
    run, spec = arguments.run, run_spec(arguments.run)
    verify_outputs(run / "provenance/train.json")
    from mixvae.fitting import devices

    device = devices.torch_device(arguments.gpu, spec.threads)

    inputs = [run / "spec.json", run / "model.safetensors", arguments.data / "data.npz", arguments.data / "dataset.json"]
    outputs = [run / "likelihood.json", run / "pointwise.npz"]
    path = run / "provenance/evaluate.json"
    with record("evaluate", path, inputs=inputs, outputs=outputs, spec=spec.model_dump(mode="json")) as facts:
        import numpy as np
        import torch

        from mixvae.data import prepared
        from mixvae.fitting.runs import load_run
        from mixvae.fitting.training import subset_indices
        from mixvae.measuring.evaluation import evaluate, extra_metrics, metrics

        data = prepared.load(arguments.data)
        model = load_run(run, spec, data).to(device)
        constant = spec.model == "constant"
        samples, points = (1, None) if constant else (spec.evaluation.samples, spec.evaluation.points)
        test = data.points("test", spec.likelihood.name == "bernoulli")
        chosen = subset_indices(len(test), points or len(test))
        test = torch.from_numpy(test[chosen])
        pointwise = evaluate(model, test, samples, spec.seed, torch.from_numpy(chosen))
        result = {
            "metrics": metrics(pointwise, spec.likelihood.name, test.shape[1])
            | extra_metrics(model, spec, test, data.meta["kind"]),
            "points": len(test),
            "samples_per_component": samples,
            "K": spec.K,
        }
        with atomic(run / "pointwise.npz") as temporary:
            np.savez(temporary, **pointwise)
        write_json(run / "likelihood.json", result)
        facts |= {"device": devices.device_name(device) or facts["device"], "gpu": device.type == "cuda"}


cli.run(main)
