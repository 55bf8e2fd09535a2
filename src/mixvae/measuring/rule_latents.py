"""Rule latents encodes the points of a trained run and measures its latent space."""

from pathlib import Path

from threadpoolctl import threadpool_limits

from mixvae.data.view import to_measure_on
from mixvae.files import write_json
from mixvae.measuring import labels, latents
from mixvae.measuring.entries import entries
from mixvae.measuring.recording import measuring
from mixvae.study import Run


def encode_run(spec: Run, run: Path, dataset: Path) -> None:
    """Write the latent codes of a run's points, and their metrics: latents.h5ad and latent_metrics.json.

    Arguments and errors are those of `mixvae.measuring.recording.measuring`.
    """
    with measuring("latents", spec, run, dataset) as (folder, _, data, model):
        train, y_train, _ = to_measure_on(data, spec, "train", spec.evaluation.probe_points)
        test, y_test, _ = to_measure_on(data, spec, "test", spec.test_points)
        names = data.meta["label_names"]
        with threadpool_limits(spec.threads):
            codes = {part: latents.codes(model, x) for part, x in (("train", train), ("test", test))}
            measured, clusters = labels.label_metrics(model, spec, codes, y_train, test, y_test, len(names))
        measured |= entries({"active_units": latents.active_units(model, test, spec.seed)})
        write_json(folder / "latent_metrics.json", {"metrics": measured, "points": len(test), "probe_points": len(train)})
        latents.write_h5ad(folder / "latents.h5ad", codes, {"train": y_train, "test": y_test}, clusters, names)
