"""Every metric is described here once: its unit and range, which runs have it, which file holds it and what it means."""

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

from mixvae.study.catalogue import DatasetInfo
from mixvae.study.jobs import rules_of
from mixvae.study.resources import points, points_annealed
from mixvae.study.run import Run

FOUND_IN = {"evaluate": "likelihood.json", "bracket": "bracket.json", "latents": "latent_metrics.json"}
"""For each rule, the file in a run's folder that holds the rule's metrics."""
LIKELIHOOD, BRACKET, LATENT = FOUND_IN.values()
TRAINING, RECORD = "training.json", "provenance/train.json"
TABLE = "metrics.csv"
"""Where a metric stands that is made from others when tables are made."""
NATS, SHARE, SCORE, SQUARES, DHSIC = "nats", "share of test points", "score", "squared error", "dHSIC"
BITS = " bpd"
"""The suffix of a quantity that is shown in bits per dimension."""
PLAIN = ("nll_miselbo", "nll_matched", "nll")
"""The estimates of -log p(x) by plain importance sampling."""
POINTS_PER_CLASS = 5
"""Metrics of labels need this many training points per class, or they are left out, as for Omniglot's 1,623 characters."""

Condition = Callable[[Run, DatasetInfo], bool]


class Metric(NamedTuple):
    """One metric, or a family of one metric per component, whose name ends with `_component_k`.

    unit: Its unit in the files.
    note: What it means.
    where: The file of a run's folder that holds it.
    who: Says of a run's spec and data set whether the run has it; by default, every run but a constant predictor has it.
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
    direction: Literal["min", "max"] | None = None
    range: tuple[float, float] = (-math.inf, math.inf)
    where: str = LIKELIHOOD
    who: Condition = lambda spec, info: not spec.is_control
    compares_K: bool = True
    digits: int = 3
    rests_on: str = ""
    undefined: Literal["", "absent", "null"] = ""

    def names(self, spec: Run) -> list[str]:
        """Return the names of a family's members for a run; for any other metric, its own name."""
        stem, family, _ = self.name.partition("_component_")
        if not family:
            return [self.name]
        return [f"{stem}{family}{k}" for k in range(1, (spec.sampled_components if stem == "elbo" else spec.K) + 1)]


def _always(spec: Run, info: DatasetInfo) -> bool:
    return True


def _enough_labels(spec: Run, info: DatasetInfo) -> bool:
    return spec.has_codes and info.classes > 1 and points_probed(spec, info) >= POINTS_PER_CLASS * info.classes


def _extra(name: str, *arguments: Any, **options: Any) -> Metric:
    """Return a metric of the runs whose system measures it in a way of its own."""
    return Metric(name, *arguments, who=lambda spec, info: name in spec.extra_metrics(info.kind), **options)


def _annealed(*arguments: Any, **options: Any) -> Metric:
    """Return a metric of the runs that are measured by annealed importance sampling."""
    return Metric(*arguments, where=BRACKET, who=lambda spec, info: spec.annealing is not None, **options)


def _latent(*arguments: Any, who: Condition = lambda spec, info: True, **options: Any) -> Metric:
    """Return a metric of the latent codes against the labels, of those runs with labels that `who` accepts."""
    return Metric(*arguments, where=LATENT, who=lambda spec, info: _enough_labels(spec, info) and who(spec, info), **options)


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
_UNIT, _SIGNED, _POSITIVE = (0, 1), (-1, 1), (0, math.inf)

METRICS = {
    metric.name: metric
    for metric in (
        Metric("elbo", NATS, "MISELBO, mean of log w; the bound that was trained", "max", who=_always),
        Metric(
            "nll", NATS, "-log 1/(KL) Σ w; tends to -log p(x) from above as L grows", "min",
            who=_always, compares_K=False, rests_on="pareto_k_above_0.7",
        ),
        Metric(
            "nll_miselbo", NATS, "-1/K Σ_k log 1/L Σ_l w; the form published for mixture VAEs, keeps a gap for K > 1", "min",
            who=_always, rests_on="pareto_k_above_0.7",
        ),
        Metric(
            "nll_matched", NATS, "`nll` from L // K samples per component: about L in all whatever K, to compare different K by",
            "min", rests_on="pareto_k_matched_above_0.7",
        ),
        Metric(
            "bpd", "bits/dim", "`nll_ais`, or `nll` where that is not there, in bits per dimension; the unit says which. Binarised"
            " pixels and 8-bit colours only", "min", where=TABLE, who=lambda spec, info: spec.likelihood.discrete, compares_K=False,
        ),
        Metric("reconstruction", NATS, _TERMS),
        Metric("kl", NATS, _TERMS),
        Metric("elbo_component_k", NATS, "ELBO of component k alone; their mean plus `jsd` is `elbo`", "max"),
        Metric("jsd", NATS, "Jensen-Shannon divergence of the components, between 0 and log K"),
        Metric("ess", "samples", "effective sample size of the K L pooled weights"),
        Metric("pareto_k", "shape", _PARETO, undefined="null"),
        Metric("pareto_k_above_0.7", SHARE, _PARETO, range=_UNIT),
        Metric("pareto_k_matched", "shape", _PARETO_MATCHED, undefined="null"),
        Metric("pareto_k_matched_above_0.7", SHARE, _PARETO_MATCHED, range=_UNIT),
        _annealed("nll_ais", NATS, "-log p(x) by annealed importance sampling from the posterior; compare everything by it", "min"),
        *(
            Metric(
                f"{name}_excess", NATS, "by how much that estimate is above `nll_ais`, on the points that were annealed", where=TABLE,
                who=lambda spec, info: spec.annealing is not None,
            )
            for name in PLAIN
        ),
        _annealed("ais_ess", "chains", "effective number of the chains of a point", range=_POSITIVE),
        _annealed("ais_acceptance", "share of moves", "accepted moves of the chains", range=_UNIT),
        _annealed("ais_sensitivity", NATS, "`nll_ais` with half as many temperatures less `nll_ais`, on the points of the gaps"),
        _annealed("ais_gap", NATS, "upper less lower bound of log p(x) by annealing in both directions, on points simulated by the model"),
        _annealed("nll_adaptive", NATS, "-log p(x) by adaptive importance sampling, a check for up to 20 latent dimensions", "min"),
        _annealed("approximation_gap", NATS, "log p(x) less the ELBO of the best posterior of the model's family", "min"),
        _annealed("approximation_gap_one", NATS, "log p(x) less the ELBO of the best single Gaussian, under the same decoder", "min"),
        _annealed("amortisation_gap", NATS, "the ELBO of the best posterior less that of the encoder's", "min"),
        _annealed("nll_train", NATS, "`nll_ais` of as many training points", "min"),
        _annealed("generalisation_gap", NATS, "`nll_ais` less `nll_train`", "min"),
        *(
            Metric(
                name, unit, _ERRORS, "min", _POSITIVE,
                who=lambda spec, info: spec.likelihood.squared_errors and not spec.is_control,
            )
            for name, unit in (("mse", SQUARES), ("rmse", f"root {SQUARES}"))
        ),
        _extra(
            "inception_score", SCORE, "M-VAE on colour images, by Inception-v3; no value, and the reason as unit, when its"
            " weights cannot be had", "max", (1, math.inf),
        ),
        *(
            _extra(f"{name}{end}", DHSIC, _DEPENDENCE, digits=5)
            for name, end in itertools.product(("dhsic", "hsic_pairs"), ("", "_null_median", "_null_95"))
        ),
        _extra("mass", "probability", "`toy`: the mass of q on the grid", range=_POSITIVE),
        *(_latent(f"accuracy_{probe}", SHARE, _PROBES, "max", _UNIT) for probe in ("svm", "knn", "mlp")),
        *(
            _latent(
                f"accuracy_{probe}_component_k", SHARE, _ONE_PROBE, "max", _UNIT,
                who=lambda spec, info: spec.components_are_models and spec.K > 1,
            )
            for probe in ("svm", "knn", "mlp")
        ),
        *(
            _latent(name, SHARE, _CATEGORIES, "max", _UNIT, who=lambda spec, info: spec.categorises, compares_K=compares)
            for name, compares in (("cluster_accuracy", True), ("cluster_purity", False))
        ),
        _latent("ari", SCORE, _KMEANS, "max", _SIGNED),
        _latent("nmi", SCORE, _KMEANS, "max", _UNIT),
        _latent("asw_true", SCORE, _KMEANS, "max", _SIGNED, undefined="absent"),
        _latent("asw_pred", SCORE, _KMEANS, "max", _SIGNED, undefined="absent"),
        Metric(
            "active_units", "units", "latent units with Var_x(E[z]) > 0.01", where=LATENT, who=lambda spec, info: spec.has_codes
        ),
        *(
            Metric(name, unit, "cost of training", where=where, who=_always)
            for name, unit, where in (
                ("parameters", "parameters", TRAINING), ("epochs", "epochs", TRAINING), ("best_epoch", "epochs", TRAINING),
                ("train_seconds", "s", RECORD), ("peak_memory_mb", "MB", RECORD),
            )
        ),
        Metric(
            "stopped_by_budget", "flag", "1 when training ended with its epochs, before it stopped improving (‡ in tables)",
            where=TRAINING, who=_always,
        ),
    )
}  # fmt: skip
"""The metrics by name; a family's name ends with `_component_k`."""


def metric_of(name: str) -> Metric:
    """Return the metric behind a quantity that is shown, which may have its sign turned or be in bits per dimension.

    A member of a family gives the family. Another name is taken for a metric of an own model, which only the model's file knows.
    """
    stem, family, _ = made_from(name).partition("_component_")
    return METRICS.get(f"{stem}{family}k" if family else stem) or _of_own_model(made_from(name))


def _of_own_model(name: str) -> Metric:
    return Metric(name, "", "", who=lambda spec, info: name in spec.own_metrics)


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


def points_probed(spec: Run, info: DatasetInfo) -> int:
    """Return how many training points the probes of a run with codes are fitted on."""
    return min(info.splits.train, spec.evaluation.probe_points)


def part_annealed(specs: Iterable[Run], info: DatasetInfo) -> str:
    """Return how many of the test points runs are annealed on, such as "200 of 10,000"; "" if all that are evaluated."""
    numbers = {(points_annealed(spec, info), points(spec, info, "test")) for spec in specs if spec.annealing}
    return " or ".join(f"{annealed:,} of {every:,}" for annealed, every in sorted(numbers) if annealed < every)


def metrics_of(spec: Run, info: DatasetInfo) -> dict[str, set[str]]:
    """Return, for each rule in `FOUND_IN`, the metrics that a run must have; those that may be absent are left out."""
    must = [metric for metric in METRICS.values() if metric.undefined != "absent" and metric.who(spec, info)]
    must += map(_of_own_model, spec.own_metrics)
    return {
        rule: {name for metric in must if metric.where == file for name in metric.names(spec)}
        for rule, file in FOUND_IN.items()
        if rule in rules_of(spec)
    }


def counts_of(spec: Run, info: DatasetInfo) -> dict[str, dict[str, int]]:
    """Return, for each rule in `FOUND_IN`, the counts of points and samples that must stand beside the metrics in its file."""
    tested = points(spec, info, "test")
    found = {"evaluate": {"points": tested, "samples_per_component": spec.importance_samples, "K": spec.K}}
    if spec.has_codes:
        found["latents"] = {"points": tested, "probe_points": points_probed(spec, info)}
    if spec.annealing:
        found["bracket"] = {**spec.annealing.model_dump(), "points": points_annealed(spec, info)}
    return found


def markdown() -> str:
    """Return the table of all metrics, for results/README.md; metrics with the same note share a row."""
    lines = ["| metric | unit | better | in | what |", "|---|---|---|---|---|"]
    for note, group in itertools.groupby(METRICS.values(), key=lambda metric: metric.note):
        members = [(f"`{metric.name}`", metric.unit, f"`{metric.where}`", metric.direction) for metric in group]
        *columns, directions = zip(*members, strict=True)
        names, units, files = (", ".join(dict.fromkeys(column)) for column in columns)
        better = {"min": "lower", "max": "higher", None: ""}[directions[0]]
        lines.append(f"| {names} | {units} | {better} | {files} | {note} |")
    return "\n".join(lines) + "\n"
