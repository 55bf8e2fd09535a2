"""This file measures how well latent codes tell the labels: by probes, K-means clusters, and a model's own categories."""

from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor

from mixvae.measuring.entries import entries
from mixvae.models import Model
from mixvae.seeds import derive
from mixvae.study import Run
from mixvae.study.metrics import POINTS_PER_CLASS

CHUNK = 1024
Codes = tuple[np.ndarray, np.ndarray]
"""The means and standard deviations of every component's base Gaussian at N points, (K, N, Z) each."""


def features(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return [mu_1 .. mu_K, sigma_1 .. sigma_K] of every point, (N, 2 K Z)."""
    return np.concatenate([*mean, *std], axis=1)


def probe(train: np.ndarray, y_train: np.ndarray, test: np.ndarray, y_test: np.ndarray, seed: int) -> dict[str, Any]:
    """Return the entries of the probes' accuracies; probes are fitted on training features (N, F) and scored on test features."""
    state = derive(seed, "probes") % 2**32
    probes = {
        "accuracy_svm": SVC(kernel="linear", C=0.025),
        "accuracy_knn": KNeighborsClassifier(),
        "accuracy_mlp": MLPClassifier(early_stopping=True, n_iter_no_change=20, max_iter=300, random_state=state),
    }
    fitted = {name: make_pipeline(StandardScaler(), classifier).fit(train, y_train) for name, classifier in probes.items()}
    return entries({name: classifier.predict(test) == y_test for name, classifier in fitted.items()})


def probe_components(train: Codes, y_train: np.ndarray, test: Codes, y_test: np.ndarray, seed: int) -> dict[str, Any]:
    """Return the accuracies on each component's codes alone, as `accuracy_<probe>_component_<k>`."""
    result = {}
    for k in range(len(train[0])):
        known, unknown = (features(mean[k : k + 1], std[k : k + 1]) for mean, std in (train, test))
        alone = probe(known, y_train, unknown, y_test, seed)
        result |= {f"{name}_component_{k + 1}": found for name, found in alone.items()}
    return result


def cluster(
    train: np.ndarray, test: np.ndarray, y_test: np.ndarray, classes: int, seed: int
) -> tuple[dict[str, Any], np.ndarray]:
    """Return how well K-means agrees with the labels, and the test points' clusters.

    K-means is fitted on training features, like the probes, and all values are of the test points. `asw_true` is the silhouette
    of the labels, `asw_pred` that of the clusters; neither is there where it is undefined.
    """
    kmeans = KMeans(classes, n_init=10, random_state=derive(seed, "clustering") % 2**32).fit(train)
    found = kmeans.predict(test)
    values = {"ari": adjusted_rand_score(y_test, found), "nmi": normalized_mutual_info_score(y_test, found)}
    for name, groups in (("asw_true", y_test), ("asw_pred", found)):
        # undefined for a single cluster, and when every point is a cluster of its own
        if 2 <= len(np.unique(groups)) < len(groups):
            values[name] = float(silhouette_score(test, groups))
    return entries(values), found


@torch.inference_mode()
def assign(model: Model, x: Tensor) -> np.ndarray:
    """Return the most probable category of every point of (N, D) under a clustering model, (N,)."""
    model.eval()
    return np.concatenate([model.categories(chunk).argmax(-1).numpy() for chunk in x.split(CHUNK)])


def cluster_accuracy(labels: np.ndarray, assignment: np.ndarray) -> float:
    """Return the share of points that the best one-to-one map from clusters (N,) to classes (N,) gets right (Kuhn, 1955).

    Points in a cluster without a class, or of a class without a cluster, count as wrong.
    """
    from scipy.optimize import linear_sum_assignment

    table = contingency_matrix(labels, assignment)
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / table.sum())


def cluster_purity(labels: np.ndarray, assignment: np.ndarray) -> float:
    """Return the share of points, of class and cluster (N,), in the majority class of their cluster; more clusters inflate it."""
    table = contingency_matrix(labels, assignment)
    return float(table.max(0).sum() / table.sum())


def label_metrics(
    model: Model, spec: Run, codes: dict[str, Codes], y_train: np.ndarray, test: Tensor, y_test: np.ndarray, classes: int
) -> tuple[dict[str, Any], np.ndarray]:
    """Return all metrics that need labels, and the K-means clusters of the test points (N, D).

    `codes` are those of the parts "train" and "test". Without labels, or with too few points per class, there are no metrics
    and a single cluster.
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
        assigned = assign(model, test)
        agreement = {"cluster_accuracy": cluster_accuracy(y_test, assigned), "cluster_purity": cluster_purity(y_test, assigned)}
        metrics |= entries(agreement)
    return metrics, clusters
