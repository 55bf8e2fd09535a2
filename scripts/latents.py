"""Rule latents: the codes of one run as an h5ad, and what they know of the labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from mixvae import cli
from mixvae.files import write_json
from mixvae.provenance import record, verify_outputs
from mixvae.study.run import run_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, type=Path, help="the run's folder, with its trained model")
    parser.add_argument("--data", required=True, type=Path, help="results/datasets/<dataset>")
    arguments = parser.parse_args()
    run, spec = arguments.run, run_spec(arguments.run)
    verify_outputs(run / "provenance/train.json")
    from mixvae.fitting import devices

    devices.torch_device(0, spec.threads)

    inputs = [run / "spec.json", run / "model.safetensors", arguments.data / "data.npz", arguments.data / "dataset.json"]
    outputs = [run / "latents.h5ad", run / "latent_metrics.json"]
    with record("latents", run / "provenance/latents.json", inputs=inputs, outputs=outputs, spec=spec.model_dump(mode="json")):
        import torch
        from threadpoolctl import threadpool_limits

        from mixvae.data import prepared
        from mixvae.fitting.runs import load_run
        from mixvae.fitting.training import subset_indices
        from mixvae.measuring import latents

        data = prepared.load(arguments.data)
        model = load_run(run, spec, data)
        binary = spec.likelihood.name == "bernoulli"
        train, test = (torch.from_numpy(data.points(part, binary)) for part in ("train", "test"))
        chosen = subset_indices(len(train), spec.evaluation.probe_points)
        train, y_train = train[chosen], data.arrays["y_train"][chosen]
        chosen = subset_indices(len(test), spec.evaluation.points or len(test))
        test, y_test = test[chosen], data.arrays["y_test"][chosen]
        labels = data.meta["label_names"]
        with threadpool_limits(spec.threads):
            codes = {part: latents.codes(model, x) for part, x in (("train", train), ("test", test))}
            metrics, clusters = latents.label_metrics(model, spec, codes, y_train, test, y_test, len(labels))
        metrics["active_units"] = {"value": latents.active_units(model, test, spec.seed), "stderr": None, "unit": "units"}
        write_json(run / "latent_metrics.json", {"metrics": metrics, "points": len(test), "probe_points": len(train)})
        latents.write_h5ad(run / "latents.h5ad", codes, {"train": y_train, "test": y_test}, clusters, labels)


cli.run(main)
