"""Rule latents: the codes of one run as an h5ad, and what they know of the labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from mixvae import cli
from mixvae.files import write_json
from mixvae.provenance import record, verify_outputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, type=Path, help="the run's folder, with its trained model")
    parser.add_argument("--data", required=True, type=Path, help="results/datasets/<dataset>")
    arguments = parser.parse_args()
    run, spec = arguments.run, cli.run_spec(arguments.run)
    verify_outputs(run / "provenance/train.json")
    cli.torch_device(0, spec.threads)

    inputs = [run / "spec.json", run / "model.safetensors", arguments.data / "data.npz", arguments.data / "dataset.json"]
    outputs = [run / "latents.h5ad", run / "latent_metrics.json"]
    with record("latents", run / "provenance/latents.json", inputs=inputs, outputs=outputs, spec=spec.model_dump(mode="json")):
        import torch
        from threadpoolctl import threadpool_limits

        from mixvae import latents
        from mixvae.data import prepared
        from mixvae.runs import load_run

        data = prepared.load(arguments.data)
        model = load_run(run, spec, torch.from_numpy(data.flat("x_train")))
        train, test = (torch.from_numpy(data.fixed(part)) for part in ("train", "test"))
        chosen = latents.probe_points(len(train), spec.evaluation.probe_points)
        train, y_train = train[chosen], data.arrays["y_train"][chosen]
        y_test = data.arrays["y_test"]
        with threadpool_limits(spec.threads):
            codes = {part: latents.codes(model, x) for part, x in (("train", train), ("test", test))}
            known, unknown = latents.features(*codes["train"]), latents.features(*codes["test"])
            clustering, clusters = latents.cluster(known, unknown, y_test, len(data.meta["label_names"]), spec.seed)
            metrics = latents.probe(known, y_train, unknown, y_test, spec.seed) | clustering
        metrics["active_units"] = {"value": latents.active_units(model, test, spec.seed), "stderr": None, "unit": "units"}
        write_json(run / "latent_metrics.json", {"metrics": metrics, "points": len(test), "probe_points": len(train)})
        latents.write_h5ad(run / "latents.h5ad", codes, {"train": y_train, "test": y_test}, clusters, data.meta["label_names"])


cli.run(main)
