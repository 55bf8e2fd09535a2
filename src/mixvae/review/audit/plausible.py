"""Plausible: exact relations between the estimates, their ranges, and the control that every model must beat."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mixvae.review.audit.expected import FOUND_IN, components, expected_counts, latent_units, points_tested
from mixvae.review.audit.findings import Findings
from mixvae.review.audit.reading import Unreadable, read_frame, read_mapping
from mixvae.review.audit.subject import Subject
from mixvae.study import AnyRun
from mixvae.summary.columns import column_names
from mixvae.summary.comparisons import probability, verdict
from mixvae.summary.tables import UNRELIABLE_SHARE, controls_of, grouped, next_smaller

ROUNDING = 1e-6
"""Of float64 sums over samples, relative to nats."""
FEW_EPOCHS = 50
"""So few epochs are a rehearsal, which need not beat the control."""
STANDARD_ERRORS = 5
"""By which an average that cannot be negative may be."""
MAY_BE_UNDEFINED = ("pareto_k", "pareto_k_matched")
"""Where no shape can be fitted to the weights, which counts as unreliable."""
SHARE = ("accuracy_", "cluster_")
RANGES = {
    "ari": (-1, 1),
    "nmi": (0, 1),
    "asw_true": (-1, 1),
    "asw_pred": (-1, 1),
    "mse": (0, math.inf),
    "rmse": (0, math.inf),
    "mass": (0, math.inf),
    "inception_score": (1, math.inf),
}
LEAST_SHAPE = -10
"""Of a Pareto tail: the fit tries none below -log(12 m), with m = 30 + the root of the tail's length."""
VERDICTS = {"better": "better", "worse": "worse", "open": "no difference shown"}

Metrics = dict[str, dict[str, Any]]


def check(subject: Subject, findings: Findings) -> None:
    """Look at every run's metrics and values of test points."""
    values: dict[str, Metrics] = {}
    for run, spec in subject.present.items():
        folder, values[run] = subject.results / "runs" / run, {}
        for rule, file in FOUND_IN.items():
            if subject.there(folder / file):
                with findings.guarded(rule, run, folder / file):
                    metrics = _metrics(rule, run, folder / file, subject, findings)
                    _alone(rule, run, metrics, folder / file, subject, findings)
                    values[run] |= metrics
        if subject.there(folder / "pointwise.npz"):
            with findings.guarded("evaluate", run, folder / "pointwise.npz"):
                _points(run, spec, folder / "pointwise.npz", subject, findings)
        with findings.guarded("evaluate", run, folder / "likelihood.json"):
            _ranges(run, spec, values[run], folder / "likelihood.json", findings)
    controls = controls_of(subject.study)
    for run, spec in subject.present.items():
        with findings.guarded("evaluate", run, subject.folder):
            _control(run, spec, controls.get(run), values, subject, findings)
    for dataset in subject.study.datasets:
        with findings.guarded("study", subject.study.name, subject.folder):
            _monotone(dataset, subject, findings)


def _metrics(rule: str, run: str, path: Path, subject: Subject, findings: Findings) -> Metrics:
    """Return the metrics of one file that are numbers; of the others it must say why they are not."""
    try:
        content = read_mapping(path, subject.results)
    except Unreadable as reason:
        findings.fail(rule, run, path, reason)
        return {}
    spec, found = subject.study.runs[run], content["metrics"]
    for name, count in expected_counts(spec, subject.study.datasets[spec.dataset])[rule].items():
        if content[name] != count:
            findings.fail(rule, run, path, f"{name}: found {content[name]!r}, expected {count} by the spec and the data set")
    good = {}
    for name, entry in found.items():
        if set(entry) != {"value", "stderr", "unit"} or not isinstance(entry["unit"], str):
            findings.fail(rule, run, path, f"{name}: found {entry}, expected value, stderr and unit")
        elif entry["value"] is None and (name in MAY_BE_UNDEFINED or entry["unit"].startswith("not measured")):
            continue
        elif not _is_number(entry["value"]) or not (entry["stderr"] is None or _is_number(entry["stderr"])):
            findings.fail(rule, run, path, f"{name}: {entry['value']!r} ± {entry['stderr']!r} are not finite numbers")
        else:
            good[name] = entry
    return good


def _is_number(value: object) -> bool:
    # a JSON integer may be larger than any real number
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _points(run: str, spec: AnyRun, path: Path, subject: Subject, findings: Findings) -> None:
    """Per point and exactly: nll <= nll_miselbo <= -elbo = reconstruction + kl."""
    try:
        arrays = subject.pointwise(run)
    except Unreadable as reason:
        findings.fail("evaluate", run, path, reason)
        return
    elbo, many = arrays["elbo"], spec.model != "constant"
    n = points_tested(spec, subject.study.datasets[spec.dataset])
    for name, array in arrays.items():
        shape = (n, components(spec)) if name == "elbo_components" else (n,)
        if array.shape != shape:
            findings.fail("evaluate", run, path, f"{name}: shape {array.shape}, expected {shape}")
            return
        # a tail without a shape is infinitely heavy
        broken = np.isnan(array) | (~np.isfinite(array) & (name not in MAY_BE_UNDEFINED))
        if broken.any():
            findings.fail("evaluate", run, path, f"{name}: {int(broken.sum())} values are not finite, first {_first(broken)}")
            return
    chain = {"nll": arrays["nll"], "nll_miselbo": arrays["nll_miselbo"], "-elbo": -elbo}
    for (small, low), (large, high) in itertools.pairwise(chain.items()):
        _each(low - high <= _tolerance(high), f"{small} <= {large}", run, path, findings)
    if many:
        total = arrays["reconstruction"] + arrays["kl"]
        _each(np.abs(total + elbo) <= _tolerance(elbo), "reconstruction + kl = -elbo", run, path, findings)
        _each(arrays["jsd"] <= math.log(components(spec)) + ROUNDING, "jsd <= log K", run, path, findings)
        most = spec.evaluation.samples * components(spec)
        ess = arrays["ess"]
        for name in MAY_BE_UNDEFINED:
            _each(arrays[name] > LEAST_SHAPE, f"{name} > {LEAST_SHAPE}", run, path, findings)
        _each((ess >= 1 - ROUNDING) & (ess <= most * (1 + ROUNDING)), f"ess in [1, {most}]", run, path, findings)


def _tolerance(values: np.ndarray) -> np.ndarray:
    return ROUNDING * np.maximum(1.0, np.abs(values))


def _each(holds: np.ndarray, relation: str, run: str, path: Path, findings: Findings) -> None:
    if not holds.all():
        findings.fail(
            "evaluate", run, path, f"{relation} is violated by {int((~holds).sum())} test points, first {_first(~holds)}"
        )


def _first(where: np.ndarray) -> int:
    return int(np.argwhere(where)[0][0])


def _alone(rule: str, run: str, metrics: Metrics, path: Path, subject: Subject, findings: Findings) -> None:
    """Every metric lies in its range, shares are of whole points, and units are whole."""
    spec = subject.study.runs[run]
    n = points_tested(spec, subject.study.datasets[spec.dataset])
    for name, entry in metrics.items():
        value = entry["value"]
        if (entry["stderr"] or 0) < 0:
            findings.fail(rule, run, path, f"{name}: the standard error {entry['stderr']} is negative")
        if name.startswith(SHARE) or name.endswith("_above_0.7"):
            if not 0 <= value <= 1 or abs(value * n - round(value * n)) > ROUNDING:
                findings.fail(rule, run, path, f"{name} {value} is no share of {n} test points")
        elif name == "active_units":
            if value not in range(latent_units(spec) + 1):
                findings.fail(rule, run, path, f"{name} {value} is no number of {latent_units(spec)} units")
        elif name in RANGES:
            low, high = RANGES[name]
            if not low - ROUNDING <= value <= high + ROUNDING:
                findings.fail(rule, run, path, f"{name} {value} is outside of [{low}, {high}]")


def _ranges(run: str, spec: AnyRun, metrics: Metrics, path: Path, findings: Findings) -> None:
    value = {name: entry["value"] for name, entry in metrics.items()}
    bounds = {
        "nll": value.get("nll"),
        "nll_miselbo": value.get("nll_miselbo"),
        "-elbo": -value["elbo"] if "elbo" in value else None,
    }
    chain = [(name, bound) for name, bound in bounds.items() if bound is not None]
    for (small, low), (large, high) in itertools.pairwise(chain):
        if low > high + ROUNDING * max(1.0, abs(high)):
            findings.fail("evaluate", run, path, f"{small} <= {large} is violated: {low} and {high}")
    if "jsd" in value:
        slack = STANDARD_ERRORS * (metrics["jsd"]["stderr"] or 0.0) + ROUNDING
        if not -slack <= value["jsd"] <= math.log(components(spec)) + ROUNDING:
            findings.fail("evaluate", run, path, f"jsd {value['jsd']} is outside of [0, log K]")
    for name in ("pareto_k_above_0.7", "pareto_k_matched_above_0.7"):
        if value.get(name, 0) >= UNRELIABLE_SHARE:
            message = f"{name} {value[name]:.2f}: the importance-weighted likelihood that rests on it is unreliable"
            findings.warn("evaluate", run, path, message)


def _control(
    run: str, spec: AnyRun, control: str | None, values: dict[str, Metrics], subject: Subject, findings: Findings
) -> None:
    """A model that has learnt something is better than a constant."""
    if control is None or "nll" not in values[run] or "nll" not in values.get(control, {}):
        return
    ours, theirs = values[run]["nll"]["value"], values[control]["nll"]["value"]
    if ours < theirs:
        return
    path = subject.results / "runs" / run
    message = f"nll {ours:.3f} is no better than the constant predictor's {theirs:.3f} ({control})"
    stopped = read_mapping(path / "training.json", subject.results).get("stopped_by") == "budget"
    if stopped or spec.training.epochs < FEW_EPOCHS:
        findings.warn("evaluate", run, path / "likelihood.json", f"{message}; it was not trained to the end")
    else:
        findings.fail("evaluate", run, path / "likelihood.json", message)


def _monotone(dataset: str, subject: Subject, findings: Findings) -> None:
    """Say how each likelihood changes from one K to the next, as the table of comparisons has it."""
    path = subject.folder / f"tables/comparisons_{dataset}.csv"
    if not subject.there(path):
        return
    smaller = next_smaller(grouped(subject.study, column_names(subject.study, dataset)))
    for row in read_frame(path, subject.results).to_dict("records"):
        if smaller.get((row["K"], row["column"])) == row["against"]:
            message = f"{row['column']}: {row['metric']} from K = {row['against']} to {row['K']}: {row['delta']:+.4f}"
            if not pd.isna(row["p_adjusted"]):  # one test point has neither
                message += f" [{row['low']:+.4f}, {row['high']:+.4f}], Holm-adjusted {probability(row['p_adjusted'])}"
            findings.note("tabulate", subject.study.name, path, f"{message}, {VERDICTS[verdict(row)]}")
