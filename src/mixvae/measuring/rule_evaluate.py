"""Rule evaluate measures the likelihoods of the test points with a trained run."""

from pathlib import Path

import numpy as np
import torch

from mixvae.data.view import to_measure_on
from mixvae.files import atomic, write_json
from mixvae.measuring.chunks import unfinished
from mixvae.measuring.evaluation import evaluate, metrics
from mixvae.measuring.extras import extra_metrics
from mixvae.measuring.recording import measuring
from mixvae.study import Run


def evaluate_run(spec: Run, run: Path, dataset: Path, gpu: int) -> None:
    """Write the importance-weighted likelihoods of a run's test points: likelihood.json and pointwise.npz.

    Arguments and errors are those of `mixvae.measuring.recording.measuring`.
    """
    with measuring("evaluate", spec, run, dataset, gpu) as (folder, facts, data, model):
        test, _, indices = to_measure_on(data, spec, "test", spec.test_points)
        samples = spec.importance_samples
        with unfinished(folder, facts) as store:
            pointwise = evaluate(model, test, samples, spec.seed, torch.from_numpy(indices), store)
            measured = metrics(pointwise) | extra_metrics(model, spec, test, data.meta["kind"])
            with atomic(folder / "pointwise.npz") as temporary:
                np.savez(temporary, **pointwise)
            result = {"metrics": measured, "points": len(test), "samples_per_component": samples, "K": spec.K}
            write_json(folder / "likelihood.json", result)
