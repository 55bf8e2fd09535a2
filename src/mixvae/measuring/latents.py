"""This file computes and writes codes, measures by probes and clusters how well they tell labels, and counts active units."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor

from mixvae.files import atomic
from mixvae.measuring.clustering import cluster_accuracy, cluster_purity
from mixvae.measuring.entries import SHARE, entry, mean_of
from mixvae.models import Model
from mixvae.seeds import derive
from mixvae.study import AnyRun
from mixvae.study.metrics import POINTS_PER_CLASS

ACTIVE_VARIANCE = 0.01
EXPECTATION_DRAWS = 128
"""How many draws estimate E_q[z | x]. All points share the draws, so few are enough for the variance between points."""
CHUNK = 1024


@torch.inference_mode()
def codes(model: Model, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return means and standard deviations of every component's base Gaussian for (N, D), (K, N, Z) each."""
    model.eval()
    device = next(model.parameters()).device
    parts = [[part.cpu().numpy() for part in model.codes(chunk.to(device))] for chunk in x.split(CHUNK)]
    mean, std = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    return mean, std


def features(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return [mu_1 .. mu_K, sigma_1 .. sigma_K] of every point, (N, 2 K Z)."""
    return np.concatenate([*mean, *std], axis=1)


@torch.inference_mode()
def active_units(model: Model, x: Tensor, seed: int) -> int:
    """Count latent units with Var_x(E_q[z | x]) > 0.01 over (N, D) (Burda et al., 2016)."""
    model.eval()
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(derive(seed, "active units"))
    draws = -(-EXPECTATION_DRAWS // model.sampled_components)
    # all points share the draws, so that their error adds no variance between points; chunks are small, as a point takes all
    # draws
    noise = torch.randn(draws, model.sampled_components, 1, model.noise_size, generator=generator, device=device)
    means = [model.expectation(chunk, noise.expand(-1, -1, len(chunk), -1)) for chunk in x.to(device).split(64)]
    return int((torch.cat(means).var(0) > ACTIVE_VARIANCE).sum())


def probe(train: np.ndarray, y_train: np.ndarray, test: np.ndarray, y_test: np.ndarray, seed: int) -> dict[str, Any]:
    """Return the probes' accuracies; probes are fitted on training codes (N, F) and scored on test codes."""
    state = derive(seed, "probes") % 2**32
    probes = {
        "accuracy_svm": SVC(kernel="linear", C=0.025),
        "accuracy_knn": KNeighborsClassifier(),
        "accuracy_mlp": MLPClassifier(early_stopping=True, n_iter_no_change=20, max_iter=300, random_state=state),
    }
    result = {}
    for name, classifier in probes.items():
        right = make_pipeline(StandardScaler(), classifier).fit(train, y_train).predict(test) == y_test
        result[name] = mean_of(right, SHARE)
    return result


def probe_components(
    train: tuple[np.ndarray, np.ndarray],
    y_train: np.ndarray,
    test: tuple[np.ndarray, np.ndarray],
    y_test: np.ndarray,
    seed: int,
) -> dict[str, Any]:
    """Return the accuracies on each component's codes alone, as `accuracy_<probe>_component_<k>`.

    Arguments:
        train, test: (mean, std), (K, N, Z) each.
    """
    result = {}
    for k in range(len(train[0])):
        known, unknown = (features(mean[k : k + 1], std[k : k + 1]) for mean, std in (train, test))
        alone = probe(known, y_train, unknown, y_test, seed)
        result |= {f"{name}_component_{k + 1}": found for name, found in alone.items()}
    return result


@torch.inference_mode()
def assign(model: Model, x: Tensor) -> np.ndarray:
    """Return the most probable category of every point of (N, D) under a clustering model, (N,)."""
    model.eval()
    device = next(model.parameters()).device
    return np.concatenate([model.categories(chunk.to(device)).argmax(-1).cpu().numpy() for chunk in x.split(CHUNK)])


def categories(y: np.ndarray, assigned: np.ndarray) -> dict[str, Any]:
    """Return how well the model's own categories agree with the labels, as cluster accuracy and purity."""
    values = {"cluster_accuracy": cluster_accuracy(y, assigned), "cluster_purity": cluster_purity(y, assigned)}
    return {name: entry(value, SHARE) for name, value in values.items()}


def cluster(
    train: np.ndarray, test: np.ndarray, y_test: np.ndarray, classes: int, seed: int
) -> tuple[dict[str, Any], np.ndarray]:
    """Return how well K-means agrees with the labels, and the test points' clusters.

    K-means is fitted on training codes, like the probes, and all values are of the test points. `asw_true` is the silhouette of
    the labels, `asw_pred` that of the clusters.
    """
    kmeans = KMeans(classes, n_init=10, random_state=derive(seed, "clustering") % 2**32).fit(train)
    found = kmeans.predict(test)
    values = {
        "ari": adjusted_rand_score(y_test, found),
        "nmi": normalized_mutual_info_score(y_test, found),
        "asw_true": _silhouette(test, y_test),
        "asw_pred": _silhouette(test, found),
    }
    return {name: entry(value, "score") for name, value in values.items() if value is not None}, found


def label_metrics(
    model: Model,
    spec: AnyRun,
    codes: dict[str, tuple[np.ndarray, np.ndarray]],
    y_train: np.ndarray,
    test: Tensor,
    y_test: np.ndarray,
    classes: int,
) -> tuple[dict[str, Any], np.ndarray]:
    """Return all metrics that need labels, and the test points' K-means clusters.

    Without labels, or with too few points per class, there are no metrics and a single cluster.

    Arguments:
        codes: (mean, std) of the parts "train" and "test", (K, N, Z) each.
        test: (N, D) test points.
    """
    if classes < 2 or len(y_train) < POINTS_PER_CLASS * classes:
        return {}, np.zeros(len(y_test), dtype=int)
    if spec.components_are_models:
        # the M-VAE's paper concatenates the means alone
        codes = {part: (mean, std[..., :0]) for part, (mean, std) in codes.items()}
    known, unknown = features(*codes["train"]), features(*codes["test"])
    metrics, clusters = cluster(known, unknown, y_test, classes, spec.seed)
    metrics |= probe(known, y_train, unknown, y_test, spec.seed)
    if spec.components_are_models and spec.K > 1:
        metrics |= probe_components(codes["train"], y_train, codes["test"], y_test, spec.seed)
    if spec.categorises:
        metrics |= categories(y_test, assign(model, test))
    return metrics, clusters


def _silhouette(x: np.ndarray, labels: np.ndarray) -> float | None:
    # undefined for a single cluster, and when every point is a cluster of its own
    return float(silhouette_score(x, labels)) if 2 <= len(np.unique(labels)) < len(labels) else None


def write_h5ad(
    path: Path,
    codes: dict[str, tuple[np.ndarray, np.ndarray]],
    y: dict[str, np.ndarray],
    clusters: np.ndarray,
    labels: list[str],
) -> None:
    """Write the codes as an AnnData file.

    X holds the mean over components; `obsm` has `X_mu_k` and `X_sigma_k` for component k = 1..K; `obs` has the label, the part
    ("train" or "test") and, for test points, the K-means cluster.

    Arguments:
        codes: (mean, std) of every part, (K, N, Z) each.
        y: Labels of every part, (N,).
        clusters: (N of test,) clusters.
        labels: Names of the labels.
    """
    import anndata
    import pandas as pd

    mean, std = (np.concatenate([codes[part][i] for part in ("train", "test")], axis=1) for i in range(2))
    sizes = {part: len(y[part]) for part in ("train", "test")}
    names = [f"{part}_{i}" for part, size in sizes.items() for i in range(size)]
    obs = pd.DataFrame(
        {
            "label": pd.Categorical.from_codes(np.concatenate([y["train"], y["test"]]), labels),
            "part": pd.Categorical(np.repeat(list(sizes), list(sizes.values()))),
            "cluster": pd.Categorical(["not clustered"] * sizes["train"] + [str(c) for c in clusters]),
        },
        index=names,
    )
    obsm = {
        f"X_{name}_{k}": values for name, array in (("mu", mean), ("sigma", std)) for k, values in enumerate(array, start=1)
    }
    var = pd.DataFrame(index=[f"z{i}" for i in range(mean.shape[2])])
    with atomic(path) as temporary:
        anndata.AnnData(X=mean.mean(0), obs=obs, var=var, obsm=obsm).write_h5ad(temporary)
