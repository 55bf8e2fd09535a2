"""Rule latents encodes the points of a trained run on the CPU, counts active units, and measures how well codes tell labels."""

from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from mixvae.data.view import to_measure_on
from mixvae.files import atomic, write_json
from mixvae.measuring.entries import entries
from mixvae.measuring.labels import CHUNK, Codes, label_metrics
from mixvae.measuring.recording import measuring
from mixvae.models import Model
from mixvae.seeds import derive
from mixvae.study import Run

ACTIVE_VARIANCE = 0.01
EXPECTATION_DRAWS = 128
"""How many draws estimate E_q[z | x]. All points share the draws, so few are enough for the variance between points."""


def encode_run(spec: Run, run: Path, dataset: Path) -> None:
    """Write the latent codes of a run's points, and their metrics: latents.h5ad and latent_metrics.json.

    Arguments and errors are those of `mixvae.measuring.recording.measuring`.
    """
    with measuring("latents", spec, run, dataset) as (folder, _, data, model):
        train, y_train, _ = to_measure_on(data, spec, "train", spec.evaluation.probe_points)
        test, y_test, _ = to_measure_on(data, spec, "test", spec.test_points)
        names = data.meta["label_names"]
        with threadpool_limits(spec.threads):
            encoded = {part: codes(model, x) for part, x in (("train", train), ("test", test))}
            measured, clusters = label_metrics(model, spec, encoded, y_train, test, y_test, len(names))
        measured |= entries({"active_units": active_units(model, test, spec.seed)})
        write_json(folder / "latent_metrics.json", {"metrics": measured, "points": len(test), "probe_points": len(train)})
        write_h5ad(folder / "latents.h5ad", encoded, {"train": y_train, "test": y_test}, clusters, names)


@torch.inference_mode()
def codes(model: Model, x: Tensor) -> Codes:
    """Return means and standard deviations of every component's base Gaussian for (N, D), (K, N, Z) each."""
    model.eval()
    parts = [[part.numpy() for part in model.codes(chunk)] for chunk in x.split(CHUNK)]
    mean, std = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    return mean, std


@torch.inference_mode()
def active_units(model: Model, x: Tensor, seed: int) -> int:
    """Count latent units with Var_x(E_q[z | x]) > 0.01 over (N, D) (Burda et al., 2016)."""
    model.eval()
    generator = torch.Generator().manual_seed(derive(seed, "active units"))
    draws = -(-EXPECTATION_DRAWS // model.sampled_components)
    # all points share the draws, so their error adds no variance between points; a point takes all draws, so chunks are small
    noise = torch.randn(draws, model.sampled_components, 1, model.noise_size, generator=generator)
    means = [model.expectation(chunk, noise.expand(-1, -1, len(chunk), -1)) for chunk in x.split(64)]
    return int((torch.cat(means).var(0) > ACTIVE_VARIANCE).sum())


def write_h5ad(path: Path, codes: dict[str, Codes], y: dict[str, np.ndarray], clusters: np.ndarray, labels: list[str]) -> None:
    """Write the codes as an AnnData file.

    X holds the mean over components; `obsm` has `X_mu_k` and `X_sigma_k` for component k = 1..K; `obs` has the label, the part
    ("train" or "test") and, for test points, the K-means cluster.

    Arguments:
        codes, y: Those of parts "train" and "test", in this order, and their labels, (N,).
        clusters: Those of the test points, (N,).
        labels: Names of the labels.
    """
    import anndata
    import pandas as pd

    mean, std = (np.concatenate(parts, axis=1) for parts in zip(*codes.values(), strict=True))
    sizes = {part: len(of_part) for part, of_part in y.items()}
    obs = pd.DataFrame(
        {
            "label": pd.Categorical.from_codes(np.concatenate(list(y.values())), labels),
            "part": pd.Categorical(np.repeat(list(sizes), list(sizes.values()))),
            "cluster": pd.Categorical(["not clustered"] * sizes["train"] + [str(c) for c in clusters]),
        },
        index=[f"{part}_{i}" for part, size in sizes.items() for i in range(size)],
    )
    obsm = {
        f"X_{name}_{k}": values for name, array in (("mu", mean), ("sigma", std)) for k, values in enumerate(array, start=1)
    }
    var = pd.DataFrame(index=[f"z{i}" for i in range(mean.shape[2])])
    with atomic(path) as temporary:
        anndata.AnnData(X=mean.mean(0), obs=obs, var=var, obsm=obsm).write_h5ad(temporary)
