"""Results of runs, made up so that every number is known."""

import json

import numpy as np
import pandas as pd

from mixvae.study import catalogue, parse_run
from mixvae.study.jobs import record_of, run_file
from mixvae.summary.cells import Sources
from mixvae.summary.results import COLUMNS, StudyRuns

N = 40


def make(tmp_path, specs, values, missing=()):
    """Write pointwise values of runs and return what tables are made from.

    Arguments:
        values: One mean nll per spec; every other likelihood follows from it.
    """
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 5, N)
    difficulty -= difficulty.mean()
    runs, rows = {}, []
    for spec, value in zip(specs, values, strict=True):
        runs[spec.id] = spec
        if spec.id in missing:
            continue
        noise = rng.normal(0, 0.1, N)
        nll = value + difficulty + noise - noise.mean()
        pointwise = {"elbo": -(nll + 1), "nll": nll, "nll_miselbo": nll + 0.5, "nll_matched": nll + 0.25}
        evaluated_on(spec, tmp_path / spec.id, "a")
        np.savez(run_file("pointwise.npz", spec, tmp_path / spec.id), **pointwise)
        metrics = {name: array.mean() for name, array in pointwise.items()}
        metrics |= {
            "pareto_k_above_0.7": 0.05,
            "pareto_k_matched_above_0.7": 0.05,
            "stopped_by_budget": 0.0,
            "ari": value / 100,
        }
        names = (spec.id, spec.dataset, spec.model, spec.K, spec.prior.name, spec.flow.name, spec.seed)
        rows += [(*names, metric, number, None, "", "", None) for metric, number in metrics.items()]
    return sources(study_of(runs.values()), pd.DataFrame(rows, columns=COLUMNS), tmp_path, missing)


def evaluated_on(spec, run, data):
    """Say which data a run was evaluated on, by a digest."""
    inputs = {"results/datasets/any/data.npz": data, "results/datasets/any/dataset.json": "b"}
    record = record_of("evaluate", spec, run)
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps({"inputs": inputs}))


def study_of(specs):
    runs = {spec.id: spec for spec in specs}
    return StudyRuns("s", runs, [], {spec.dataset: catalogue().get(spec.dataset) for spec in specs})


def metrics_of(values, unit=""):
    """Return a tidy frame of {spec: {metric: value}}."""
    rows = [
        (
            spec.id,
            spec.dataset,
            spec.model,
            spec.K,
            spec.prior.name,
            spec.flow.name,
            spec.seed,
            metric,
            value,
            None,
            unit,
            "",
            None,
        )
        for spec, found in values.items()
        for metric, value in found.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"value": float})


def sources(study, metrics, folder=None, missing=()):
    """Return what the tables of a study's only data set are made from."""
    return Sources(study, next(iter(study.datasets)), metrics, folder, set(missing))


def run(model, dataset="mnist", **changes):
    base = {"model": model, "dataset": dataset, "K": 1, "latent": 3, "encoder": {"hidden": [16]}, "decoder": {"hidden": [16]}}
    likelihood = {"mvae": {"name": "gaussian"}}.get(model, "bernoulli")
    return parse_run({**base, "likelihood": likelihood, **changes})
