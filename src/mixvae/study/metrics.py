"""Every metric is described here once: its unit and range, which runs have it, which file holds it and what it means."""

import itertools
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from mixvae.study.catalogue import DatasetInfo
from mixvae.study.resources import points
from mixvae.study.run import AnyRun

FOUND_IN = {"evaluate": "likelihood.json", "latents": "latent_metrics.json"}
"""For each rule, the file in a run's folder that holds the rule's metrics."""
LIKELIHOOD, LATENT = FOUND_IN.values()
TRAINING, RECORD = "training.json", "provenance/train.json"
NATS, SHARE, SCORE, SQUARES, DHSIC = "nats", "share of test points", "score", "squared error", "dHSIC"
BITS = " bpd"
"""The suffix of a quantity that is shown in bits per dimension."""
POINTS_PER_CLASS = 5
"""Metrics of labels need this many training points per class, or they are left out, as for Omniglot's 1,623 characters."""

Condition = Callable[[AnyRun, DatasetInfo], bool]


class Metric(NamedTuple):
    """One metric, or a family of one metric per component, whose name ends with `_component_k`.

    unit: Its unit in the files.
    note: What it means.
    where: The file of a run's folder that holds it.
    who: A function that says of a run's spec and data set whether the run has it.
    direction: Which end of the scale is better; None where neither is.
    compares_K: Whether its values for different K can be compared.
    digits: The decimals that it is printed with.
    range: The least and the greatest value.
    rests_on: The metric that gives the share of test points whose importance weights make this one unreliable; "" for none.
    undefined: How its file says that it has no value: the metric is "absent", or its value is "null".
    """

    name: str
    unit: str
    note: str
    where: str
    who: Condition
    direction: Literal["min", "max"] | None = None
    compares_K: bool = True
    digits: int = 3
    range: tuple[float, float] = (-math.inf, math.inf)
    rests_on: str = ""
    undefined: Literal["", "absent", "null"] = ""

    def names(self, spec: AnyRun) -> list[str]:
        """Return the names of a family's members for a run; for any other metric, its own name."""
        stem, family, _ = self.name.partition("_component_")
        if not family:
            return [self.name]
        return [f"{stem}{family}{k}" for k in range(1, (spec.sampled_components if stem == "elbo" else spec.K) + 1)]


def _any(spec: AnyRun, info: DatasetInfo) -> bool:
    return True


def _trained(spec: AnyRun, info: DatasetInfo) -> bool:
    return not spec.is_control


def _bits(spec: AnyRun, info: DatasetInfo) -> bool:
    return spec.likelihood.discrete


def _squares(spec: AnyRun, info: DatasetInfo) -> bool:
    return spec.likelihood.squared_errors and not spec.is_control


def _codes(spec: AnyRun, info: DatasetInfo) -> bool:
    return spec.has_codes


def _labels(spec: AnyRun, info: DatasetInfo) -> bool:
    return spec.has_codes and info.classes > 1 and points_probed(spec, info) >= POINTS_PER_CLASS * info.classes


def _labels_and_categories(spec: AnyRun, info: DatasetInfo) -> bool:
    return spec.categorises and _labels(spec, info)


def _labels_and_several_models(spec: AnyRun, info: DatasetInfo) -> bool:
    return spec.components_are_models and spec.K > 1 and _labels(spec, info)


def _extra(name: str) -> Condition:
    """Return the condition that a run's system measures metric `name` in a way of its own."""
    return lambda spec, info: name in spec.extra_metrics(info.kind)


_PROBES = "probes on the codes of training points, scored on test points; metrics of labels need five probe points per class"
_ONE_PROBE = "M-VAE: the probe on component k's codes alone"
_KMEANS = (
    "K-means on [mu_1..mu_K, sigma_1..sigma_K], of an M-VAE on the means alone, against the labels; silhouette of labels and of"
    " clusters. More components are more features"
)
_CATEGORIES = (
    "a clustering model's own categories against the labels: matched one to one (Hungarian), and by majority, which more categories"
    " inflate"
)
_PARETO = "median over test points of the Pareto shape of the weights; share of points where it is above 0.7 (unreliable, † in tables)"
_PARETO_MATCHED = "the same for the weights that `nll_matched` rests on"
_TERMS = (
    "-E log p(x given z) and E[log q - log p(z)]; -elbo is their sum. `kl` of a `toy` run is KL(q to truth), summed over a grid"
)
_ERRORS = "squared error of the mean reconstruction summed over a point's numbers, mean over test points; its root"
_DEPENDENCE = "M-VAE: dependence of the components' codes, jointly and summed over pairs, beside its permutation null"
_COST = "cost of training"
_UNIT, _POSITIVE = (0, 1), (0, math.inf)

METRICS = {
    metric.name: metric
    for metric in (
        Metric("elbo", NATS, "MISELBO, mean of log w; the bound that was trained", LIKELIHOOD, _any, "max"),
        Metric(
            "nll", NATS, "-log 1/(KL) Σ w; tends to -log p(x) from above as L grows",
            LIKELIHOOD, _any, "min", compares_K=False, rests_on="pareto_k_above_0.7",
        ),
        Metric(
            "nll_miselbo", NATS, "-1/K Σ_k log 1/L Σ_l w; the form published for mixture VAEs, keeps a gap for K > 1",
            LIKELIHOOD, _any, "min", rests_on="pareto_k_above_0.7",
        ),
        Metric(
            "nll_matched", NATS, "`nll` from L // K samples per component: about L in all whatever K, to compare different K by",
            LIKELIHOOD, _trained, "min", rests_on="pareto_k_matched_above_0.7",
        ),
        Metric(
            "bpd", "bits/dim", "`nll` in bits per dimension, binarised pixels and 8-bit colours only",
            LIKELIHOOD, _bits, "min", compares_K=False,
        ),
        Metric("reconstruction", NATS, _TERMS, LIKELIHOOD, _trained),
        Metric("kl", NATS, _TERMS, LIKELIHOOD, _trained),
        Metric(
            "elbo_component_k", NATS, "ELBO of component k alone; their mean plus `jsd` is `elbo`", LIKELIHOOD, _trained, "max"
        ),
        Metric("jsd", NATS, "Jensen-Shannon divergence of the components, between 0 and log K", LIKELIHOOD, _trained),
        Metric("ess", "samples", "effective sample size of the K L pooled weights", LIKELIHOOD, _trained),
        Metric("pareto_k", "shape", _PARETO, LIKELIHOOD, _trained, undefined="null"),
        Metric("pareto_k_above_0.7", SHARE, _PARETO, LIKELIHOOD, _trained, range=_UNIT),
        Metric("pareto_k_matched", "shape", _PARETO_MATCHED, LIKELIHOOD, _trained, undefined="null"),
        Metric("pareto_k_matched_above_0.7", SHARE, _PARETO_MATCHED, LIKELIHOOD, _trained, range=_UNIT),
        Metric("mse", SQUARES, _ERRORS, LIKELIHOOD, _squares, "min", range=_POSITIVE),
        Metric("rmse", f"root {SQUARES}", _ERRORS, LIKELIHOOD, _squares, "min", range=_POSITIVE),
        Metric(
            "inception_score", SCORE, "M-VAE on colour images, by Inception-v3; no value, and the reason as unit, when its"
            " weights cannot be had", LIKELIHOOD, _extra("inception_score"), "max", range=(1, math.inf),
        ),
        *(
            Metric(f"{name}{end}", DHSIC, _DEPENDENCE, LIKELIHOOD, _extra(f"{name}{end}"), digits=5)
            for name, end in itertools.product(("dhsic", "hsic_pairs"), ("", "_null_median", "_null_95"))
        ),
        Metric("mass", "probability", "`toy`: the mass of q on the grid", LIKELIHOOD, _extra("mass"), range=_POSITIVE),
        *(Metric(f"accuracy_{probe}", SHARE, _PROBES, LATENT, _labels, "max", range=_UNIT) for probe in ("svm", "knn", "mlp")),
        *(
            Metric(f"accuracy_{probe}_component_k", SHARE, _ONE_PROBE, LATENT, _labels_and_several_models, "max", range=_UNIT)
            for probe in ("svm", "knn", "mlp")
        ),
        Metric("cluster_accuracy", SHARE, _CATEGORIES, LATENT, _labels_and_categories, "max", range=_UNIT),
        Metric("cluster_purity", SHARE, _CATEGORIES, LATENT, _labels_and_categories, "max", compares_K=False, range=_UNIT),
        Metric("ari", SCORE, _KMEANS, LATENT, _labels, "max", range=(-1, 1)),
        Metric("nmi", SCORE, _KMEANS, LATENT, _labels, "max", range=_UNIT),
        Metric("asw_true", SCORE, _KMEANS, LATENT, _labels, "max", range=(-1, 1), undefined="absent"),
        Metric("asw_pred", SCORE, _KMEANS, LATENT, _labels, "max", range=(-1, 1), undefined="absent"),
        Metric("active_units", "units", "latent units with Var_x(E[z]) > 0.01", LATENT, _codes),
        Metric("parameters", "parameters", _COST, TRAINING, _any),
        Metric("epochs", "epochs", _COST, TRAINING, _any),
        Metric("best_epoch", "epochs", _COST, TRAINING, _any),
        Metric("train_seconds", "s", _COST, RECORD, _any),
        Metric("peak_memory_mb", "MB", _COST, RECORD, _any),
        Metric(
            "stopped_by_budget", "flag", "1 when training ended with its epochs, before it stopped improving (‡ in tables)",
            TRAINING, _any,
        ),
    )
}  # fmt: skip
"""The metrics by name; a family's name ends with `_component_k`."""


def metric_of(name: str) -> Metric:
    """Return the metric behind a quantity that is shown, which may have its sign turned or be in bits per dimension.

    A member of a family gives the family. Raises KeyError for an unknown name.
    """
    stem, family, _ = made_from(name).partition("_component_")
    return METRICS[f"{stem}{family}k" if family else stem]


def made_from(name: str) -> str:
    """Return the metric that a quantity is made from: "elbo" for "-elbo", "nll_matched" for "nll_matched bpd"."""
    return name.removeprefix("-").removesuffix(BITS)


def factor(name: str, info: DatasetInfo) -> float:
    """Return the factor from a metric to a quantity: its sign, and the conversion from nats to bits per dimension."""
    sign = -1.0 if name.startswith("-") else 1.0
    return sign / (math.prod(info.shape) * math.log(2)) if name.endswith(BITS) else sign


def better_end(name: str) -> str | None:
    """Return which end of a quantity's scale is better, "min" or "max"; None where neither is."""
    direction = metric_of(name).direction
    return {"min": "max", "max": "min"}[direction] if direction and name.startswith("-") else direction


def points_probed(spec: AnyRun, info: DatasetInfo) -> int:
    """Return how many training points the probes of a run with codes are fitted on."""
    return min(info.splits.train, spec.evaluation.probe_points)


def metrics_of(spec: AnyRun, info: DatasetInfo) -> dict[str, set[str]]:
    """Return, for each rule in `FOUND_IN`, the metrics that a run must have; those that may be absent are left out."""
    found: dict[str, set[str]] = {rule: set() for rule in FOUND_IN if rule != "latents" or spec.has_codes}
    rules = {file: rule for rule, file in FOUND_IN.items()}
    for metric in METRICS.values():
        if metric.where in rules and metric.undefined != "absent" and metric.who(spec, info):
            found[rules[metric.where]].update(metric.names(spec))
    return found


def counts_of(spec: AnyRun, info: DatasetInfo) -> dict[str, dict[str, int]]:
    """Return the counts of points and samples that must stand beside the metrics in the files of rules evaluate and latents."""
    tested = points(spec, info, "test")
    found = {"evaluate": {"points": tested, "samples_per_component": spec.importance_samples, "K": spec.K}}
    if spec.has_codes:
        found["latents"] = {"points": tested, "probe_points": points_probed(spec, info)}
    return found


def markdown() -> str:
    """Return the table of all metrics, for results/README.md; metrics with the same note share a row."""
    lines = ["| metric | unit | better | in | what |", "|---|---|---|---|---|"]
    for note, group in itertools.groupby(METRICS.values(), key=lambda metric: metric.note):
        members = list(group)
        names, units, files = (
            ", ".join(dict.fromkeys(values))
            for values in (
                [f"`{one.name}`" for one in members],
                [one.unit for one in members],
                [f"`{one.where}`" for one in members],
            )
        )
        better = {"min": "lower", "max": "higher", None: ""}[members[0].direction]
        lines.append(f"| {names} | {units} | {better} | {files} | {note} |")
    return "\n".join(lines) + "\n"
