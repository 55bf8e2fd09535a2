"""The metrics and counts that a run must have, from its spec and its data set's sizes alone."""

from __future__ import annotations

from mixvae.study import AnyRun, DatasetInfo
from mixvae.study.outputs import POINTS_PER_CLASS, has_codes

BOUNDS = {"elbo", "nll", "nll_miselbo"}
WEIGHTED = {"nll_matched", "reconstruction", "kl", "jsd", "ess", "pareto_k", "pareto_k_matched"}
SHARES = {"pareto_k_above_0.7", "pareto_k_matched_above_0.7"}
PROBES = {"accuracy_svm", "accuracy_knn", "accuracy_mlp"}
OPTIONAL = {"asw_true", "asw_pred"}
"""Silhouettes are undefined for a single cluster."""
FOUND_IN = {"evaluate": "likelihood.json", "latents": "latent_metrics.json"}
"""By rule, the file that holds its metrics."""
MOST_COMPONENTS = 1000
"""As a config allows; a file that asks for more is not gone along with."""


def components(spec: AnyRun) -> int:
    """Return how many components draw importance samples."""
    return min(spec.sampled_components, MOST_COMPONENTS)


def points_tested(spec: AnyRun, info: DatasetInfo) -> int:
    """Return how many points a run is evaluated on; the control always on all."""
    return min(info.splits.test, spec.test_points or info.splits.test)


def expected_counts(spec: AnyRun, info: DatasetInfo) -> dict[str, dict[str, int]]:
    """Return what stands beside the metrics in the files of rules evaluate and latents."""
    points, samples = points_tested(spec, info), spec.importance_samples
    found = {"evaluate": {"points": points, "samples_per_component": samples, "K": spec.K}}
    if has_codes(spec):
        found["latents"] = {"points": points, "probe_points": points_probed(spec, info)}
    return found


def points_probed(spec: AnyRun, info: DatasetInfo) -> int:
    """Return how many training points the probes are fitted on."""
    return min(info.splits.train, spec.evaluation.probe_points)


def expected_metrics(spec: AnyRun, info: DatasetInfo) -> dict[str, set[str]]:
    """Return the names of the metrics that rules evaluate and latents must leave for a run."""
    found = {"evaluate": _likelihoods(spec, info)}
    if has_codes(spec):
        found["latents"] = _latents(spec, info)
    return found


def _likelihoods(spec: AnyRun, info: DatasetInfo) -> set[str]:
    names = set(BOUNDS)
    if spec.likelihood.discrete:
        names.add("bpd")
    if spec.is_control:
        return names
    names |= WEIGHTED | SHARES | {f"elbo_component_{k}" for k in range(1, components(spec) + 1)}
    if spec.likelihood.squared_errors:
        names |= {"mse", "rmse"}
    names |= spec.extra_metrics(info.kind)
    return names


def _latents(spec: AnyRun, info: DatasetInfo) -> set[str]:
    names = {"active_units"}
    if info.classes < 2 or points_probed(spec, info) < POINTS_PER_CLASS * info.classes:
        return names
    names |= PROBES | {"ari", "nmi"}
    if spec.components_are_models and spec.K > 1:
        names |= {f"{probe}_component_{k}" for probe in PROBES for k in range(1, spec.K + 1)}
    if spec.categorises:
        names |= {"cluster_accuracy", "cluster_purity"}
    return names
