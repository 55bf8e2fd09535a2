"""Check `plausible`: estimates lie in their ranges and hold exact relations, and every model beats the control."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mixvae.review.audit.findings import Findings
from mixvae.review.audit.reading import Unreadable, is_measured, read_frame, read_mapping
from mixvae.review.audit.subject import Subject
from mixvae.study import Run
from mixvae.study.metrics import FOUND_IN, METRICS, SHARE, counts_of, metric_of, points_annealed
from mixvae.study.resources import points
from mixvae.summary.cells import UNRELIABLE_SHARE
from mixvae.summary.results import controls_of
from mixvae.summary.tables.comparisons import probability, verdict

ROUNDING = 1e-6
"""The rounding of float64 sums over samples, relative to nats."""
FEW_EPOCHS = 50
"""A training of fewer epochs is a rehearsal, which need not beat the control."""
STANDARD_ERRORS = 5
"""How many of its standard errors an average that cannot be negative may lie below 0."""
GAPS = ("approximation_gap", "approximation_gap_one", "amortisation_gap", "ais_gap")
"""Differences that are not negative in expectation."""
MAY_BE_UNDEFINED = [name for name, metric in METRICS.items() if metric.undefined == "null"]
"""Metrics that are undefined if no shape can be fitted to the weights, which counts as unreliable."""
LEAST_SHAPE = -10
"""A shape too low for the fit of a Pareto tail, which tries none below -log(12 m), m = 30 + the root of the tail's length."""
VERDICTS = {"better": "better", "worse": "worse", "open": "no difference shown"}

Metrics = dict[str, dict[str, Any]]


def check(subject: Subject, findings: Findings) -> None:
    """Check every run's metrics and its values at the test points, and note what the tables of comparisons show."""
    values: dict[str, Metrics] = {}
    for run, spec in subject.present.items():
        values[run] = {}
        for rule, file in FOUND_IN.items():
            subject.check_file(_metrics, subject.run_file(run, file), findings, rule, spec, values[run])
        subject.check_file(_points, subject.run_file(run, "pointwise.npz"), findings, run, spec)
        path = subject.run_file(run, "likelihood.json")
        with findings.guarded(path):
            _relations(spec, values[run], path, findings)
        subject.check_file(_annealed, subject.run_file(run, "bracket.json"), findings, run, spec, values[run])
    controls = controls_of(subject.study)
    for run, spec in subject.present.items():
        with findings.guarded(subject.run_file(run, "training.json")):  # the only file that _control reads
            _control(run, spec, controls.get(run), values, subject, findings)
    for dataset in subject.study.datasets:
        subject.check_file(_comparisons, subject.folder / f"tables/comparisons_{dataset}.csv", findings)


def _metrics(rule: str, spec: Run, values: Metrics, path: Path, subject: Subject, findings: Findings) -> None:
    """Check a file's metrics and add those that are numbers to `values`; fail any other for which the file gives no reason."""
    content = read_mapping(path, subject.results)
    for name, count in counts_of(spec, subject.study.datasets[spec.dataset])[rule].items():
        if content[name] != count:
            findings.fail(path, f"{name}: found {content[name]!r}, expected {count} by the spec and the data set")
    good = {}
    for name, entry in content["metrics"].items():
        # files of version 0.1 have no mc_error
        if set(entry) - {"mc_error"} != {"value", "stderr", "unit"} or not isinstance(entry["unit"], str):
            findings.fail(path, f"{name}: found {entry}, expected value, stderr and unit")
        elif entry["value"] is None and (name in MAY_BE_UNDEFINED or entry["unit"].startswith("not measured")):
            continue
        elif not is_measured(entry) or not is_measured({"value": entry["value"], "stderr": entry.get("mc_error")}):
            findings.fail(path, f"{name}: {entry['value']!r} ± {entry['stderr']!r} are not finite numbers")
        else:
            good[name] = entry
    _ranges(spec, good, path, subject, findings)
    values |= good


def _points(run: str, spec: Run, path: Path, subject: Subject, findings: Findings) -> None:
    """Check nll <= nll_miselbo <= -elbo = reconstruction + kl at every test point, but for rounding, and check the ranges."""
    value = subject.pointwise(run)
    n, K = points(spec, subject.study.datasets[spec.dataset], "test"), spec.sampled_components
    for name, array in value.items():
        if array.dtype.kind != "f":
            raise Unreadable(f"{name} is not an array of real numbers")
        shape = (n, K) if name == "elbo_components" else (n,)
        if array.shape != shape:
            raise Unreadable(f"{name}: shape {array.shape}, expected {shape}")
        # a tail without a shape is infinitely heavy
        broken = np.isnan(array) | (~np.isfinite(array) & (name not in MAY_BE_UNDEFINED))
        if broken.any():
            raise Unreadable(f"{name}: {int(broken.sum())} values are not finite, first {np.argwhere(broken)[0, 0]}")
    elbo = value["elbo"]
    near = ROUNDING * np.maximum(1.0, np.abs(elbo))
    holds = {
        "nll <= nll_miselbo": value["nll"] - value["nll_miselbo"] <= ROUNDING * np.maximum(1.0, np.abs(value["nll_miselbo"])),
        "nll_miselbo <= -elbo": value["nll_miselbo"] + elbo <= near,
    }
    if not spec.is_control:
        most = spec.evaluation.samples * K
        holds["reconstruction + kl = -elbo"] = np.abs(value["reconstruction"] + value["kl"] + elbo) <= near
        holds["jsd <= log K"] = value["jsd"] <= math.log(K) + ROUNDING
        holds |= {f"{name} > {LEAST_SHAPE}": value[name] > LEAST_SHAPE for name in MAY_BE_UNDEFINED}
        holds[f"ess in [1, {most}]"] = (value["ess"] >= 1 - ROUNDING) & (value["ess"] <= most * (1 + ROUNDING))
    for relation, where in holds.items():
        if not where.all():
            message = f"{relation} is violated by {int((~where).sum())} test points, first {np.argwhere(~where)[0, 0]}"
            findings.fail(path, message)


def _ranges(spec: Run, metrics: Metrics, path: Path, subject: Subject, findings: Findings) -> None:
    """Check that metrics lie in their ranges, that shares are those of whole test points, and that active units are whole."""
    n = points(spec, subject.study.datasets[spec.dataset], "test")
    for name, entry in metrics.items():
        value = entry["value"]
        if (entry["stderr"] or 0) < 0:
            findings.fail(path, f"{name}: the standard error {entry['stderr']} is negative")
        metric = metric_of(name)
        low, high = metric.range
        if metric.unit == SHARE:
            if not 0 <= value <= 1 or abs(value * n - round(value * n)) > ROUNDING:
                findings.fail(path, f"{name} {value} is no share of {n} test points")
        elif name == "active_units":
            if value not in range(spec.latent_units + 1):
                findings.fail(path, f"{name} {value} is no number of {spec.latent_units} units")
        elif not low - ROUNDING <= value <= high + ROUNDING:
            findings.fail(path, f"{name} {value} is outside of [{low}, {high}]")


def _relations(spec: Run, metrics: Metrics, path: Path, findings: Findings) -> None:
    """Check that a run's averages satisfy the relations that its test points must satisfy."""
    value = {name: entry["value"] for name, entry in metrics.items()}
    if "elbo" in value:
        value["-elbo"] = -value["elbo"]
    chain = [(name, value[name]) for name in ("nll", "nll_miselbo", "-elbo") if name in value]
    for (small, low), (large, high) in itertools.pairwise(chain):
        if low > high + ROUNDING * max(1.0, abs(high)):
            findings.fail(path, f"{small} <= {large} is violated: {low} and {high}")
    if "jsd" in value:
        slack = STANDARD_ERRORS * (metrics["jsd"]["stderr"] or 0.0) + ROUNDING
        if not -slack <= value["jsd"] <= math.log(spec.sampled_components) + ROUNDING:
            findings.fail(path, f"jsd {value['jsd']} is outside of [0, log K]")
    for name in ("pareto_k_above_0.7", "pareto_k_matched_above_0.7"):
        if value.get(name, 0) >= UNRELIABLE_SHARE:
            message = f"{name} {value[name]:.2f}: the importance-weighted likelihood that rests on it is unreliable"
            findings.warn(path, message)


def _annealed(run: str, spec: Run, metrics: Metrics, path: Path, subject: Subject, findings: Findings) -> None:
    """Check that gaps are not below 0 beyond their errors, and warn of an annealed likelihood that is above another estimate."""
    if not subject.there(path.with_suffix(".npz")):
        return
    for name in GAPS:
        if name in metrics and metrics[name]["value"] < -STANDARD_ERRORS * metrics[name]["mc_error"] - ROUNDING:
            found = f"{metrics[name]['value']:.4f} with a Monte Carlo error of {metrics[name]['mc_error']:.4f}"
            findings.fail(path, f"{name} is below 0 by more than its error: {found}")
    if "nll_ais" not in metrics:
        return
    arrays, n = subject.pointwise(run, "bracket.npz"), points_annealed(spec, subject.study.datasets[spec.dataset])
    for name in ("nll_ais", "nll_ais_variance", "positions"):
        if arrays[name].shape != (n,) or not np.isfinite(arrays[name]).all():
            raise Unreadable(f"{name} of bracket.npz: expected {n} finite numbers")
    plain = subject.pointwise(run)
    if not ((arrays["positions"] >= 0) & (arrays["positions"] < len(plain["nll"]))).all():
        raise Unreadable(f"positions of bracket.npz: expected indices of {len(plain['nll'])} test points")
    others = {name: plain[name][arrays["positions"]] for name in ("nll", "nll_matched")}
    others |= {name: arrays[name] for name in ("nll_adaptive",) if name in arrays}
    for name, other in others.items():
        above = float((arrays["nll_ais"] - other).mean())
        error = math.hypot(metrics["nll_ais"]["mc_error"], metrics.get(name, {}).get("mc_error") or 0.0)
        if above > 2 * error + ROUNDING:
            message = f"nll_ais is above {name} by {above:.4f} nats at the same points"
            findings.warn(path, f"{message}: annealing needs more temperatures")


def _control(
    run: str, spec: Run, control: str | None, values: dict[str, Metrics], subject: Subject, findings: Findings
) -> None:
    """Check that a model that was trained to the end is better than the constant predictor."""
    if control is None or "nll" not in values[run] or "nll" not in values.get(control, {}):
        return
    ours, theirs, path = values[run]["nll"]["value"], values[control]["nll"]["value"], subject.run_file(run, "likelihood.json")
    if ours < theirs:
        return
    message = f"nll {ours:.3f} is no better than the constant predictor's {theirs:.3f} ({control})"
    stopped = read_mapping(subject.run_file(run, "training.json"), subject.results).get("stopped_by") == "budget"
    if stopped or spec.training.epochs < FEW_EPOCHS:
        findings.warn(path, f"{message}; it was not trained to the end")
    else:
        findings.fail(path, message)


def _comparisons(path: Path, subject: Subject, findings: Findings) -> None:
    """Note how each likelihood changes from one K to the next according to the table of comparisons."""
    for row in read_frame(path, subject.results).to_dict("records"):
        if row["step"] is True:
            message = f"{row['column']}: {row['metric']} from K = {row['against']} to {row['K']}: {row['delta']:+.4f}"
            if not pd.isna(row["p_adjusted"]):  # one test point has neither
                message += f" [{row['low']:+.4f}, {row['high']:+.4f}], Holm-adjusted {probability(row['p_adjusted'])}"
            findings.note(path, f"{message}, {VERDICTS[verdict(row)]}")
