"""Estimates jobs from the finished jobs most like them, by seconds = start-up + a units + b work."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mixvae.cluster.costs.measurements import Measurement
from mixvae.cluster.costs.work import Kind, Work
from mixvae.errors import UserError
from mixvae.study.run import MODELS

COMPARABLE_EPOCHS = 0.5
"""A run that was allowed fewer than this share of another's epochs does not tell when the other would stop early."""
MOST_START_UP = 0.9
"""The largest share of a job that is taken for start-up if that was not measured."""
MEASURED = {"measured": ("signature",)}
NETWORKS = ("encoder", "decoder")
NEAR = MEASURED | {"same model and networks": ("model", *NETWORKS)}
FAR = {"same networks": NETWORKS, "same model": ("model",), "other": ()}
NEAR_FOR_LATENTS = MEASURED | {"all latents": ()}
"""By name of the basis, what a finished job must have in common with one that is estimated from it, nearest first. Seconds per
operation depend on the kind of layers, but those of probes do not depend on any network."""


class Estimate(NamedTuple):
    """What one job will cost.

    seconds: Its time if it trains all epochs that are allowed; its work begins after `start_up` seconds.
    epochs_share: The share of their epochs that runs of the model have used before they stopped early; None if unknown.
    basis: What the measurements have in common with the job, and whether they come from the reference table or another device.
    rows: How many measurements there are.
    spread: The factor by which the fit misses the worst of them.
    reach: The work per unit, relative to the largest measured.
    """

    seconds: float
    start_up: float
    epochs_share: float | None
    memory_mb: float
    disk_mb: float
    basis: str
    rows: int
    spread: float
    reach: float


def fit(rows: Sequence[Measurement]) -> np.ndarray:
    """Return (start-up, a, b) of seconds = start-up + a units + b work: non-negative least squares of the relative errors.

    A start-up that was measured is taken as it is.
    """
    from scipy.optimize import nnls

    units, work, seconds, start_up = (
        np.array([getattr(row, name) for row in rows]) for name in ("units", "work", "seconds", "start_up")
    )
    known = start_up > 0
    seconds = np.maximum(seconds, 1e-6)
    # work comes first: of columns that explain one measurement equally well, it is the one that holds for other jobs
    columns = np.stack([work, units, np.where(known, 0.0, 1.0)], axis=1) / seconds[:, None]
    scale = columns.max(0)
    scale[scale == 0] = 1.0
    b, a, rest = nnls(columns / scale, np.maximum(1 - start_up / seconds, 0.0))[0] / scale
    return np.array([float(np.median(start_up[known])) if known.any() else rest, a, b])


class Estimator:
    """Estimates jobs from measurements."""

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        self.measurements = measurements
        self._groups: dict[Kind, tuple[str, list[Measurement], np.ndarray]] = {}
        self._start_up: dict[str, float] = {}
        self._memory_fits: dict[str, tuple[float, float]] = {}
        for rule in {row.rule for row in measurements}:
            rows = [row for row in measurements if row.rule == rule]
            self._memory_fits[rule] = _fit_memory(rows)
            if others := [row for row in rows if not _is_control(row)]:
                self._start_up[rule] = float(fit(others)[0])

    def estimate(self, kind: Kind, work: Work, max_epochs: int = 0) -> Estimate:
        """Return what a job of this kind with this work will cost.

        Arguments:
            max_epochs: The epochs that training allows; 0 for other rules.

        Raises UserError when no job of the rule is finished.
        """
        if kind not in self._groups:
            basis, rows = self._nearest(kind)
            rows = [self._with_start_up(row) for row in rows]
            self._groups[kind] = basis, rows, fit(rows)
        basis, rows, (start_up, a, b) = self._groups[kind]
        if basis.startswith("measured"):
            seconds, spread = _scaled(rows, work)
            reach = 1.0
            memory = max(row.peak_memory_mb + max(0.0, work.memory_mb - row.array_mb) for row in rows)
        else:
            seconds = start_up + a * work.units + b * work.work
            spread = max(_factor(start_up + a * row.units + b * row.work, row.seconds) for row in rows)
            largest = max((row.work / row.units for row in rows if row.units), default=0.0)
            reach = work.work / work.units / largest if work.units and largest else 1.0
            fixed, slope = self._memory_fits[kind.rule]
            memory = fixed + slope * work.memory_mb
        share = self._share_of_epochs(kind, max_epochs)
        return Estimate(seconds, min(start_up, seconds), share, memory, work.disk_mb, basis, len(rows), spread, reach)

    def _nearest(self, kind: Kind) -> tuple[str, list[Measurement]]:
        """Return the finished jobs that have most in common with a job, and the name of that basis."""
        control = _is_control(kind)
        of_rule = [row for row in self.measurements if row.rule == kind.rule]
        rows = [row for row in of_rule if _is_control(row) == control]
        # without measurements of a control, take the start-up of other runs
        rows = rows or (of_rule if control else [])
        if not rows:
            raise UserError(f"no finished {kind.rule} job to estimate one from; run one study to its end, e.g. make ablation")
        on_device = [row for row in rows if row.gpu == kind.gpu]
        # there is always a candidate, since the last basis asks for nothing in common
        basis, alike = next(_candidates(kind, on_device or rows))
        same_threads = [row for row in alike if row.threads == kind.threads]
        return basis + ("" if on_device else ", other device"), same_threads or alike

    def _with_start_up(self, row: Measurement) -> Measurement:
        """Return a measurement with the start-up that all jobs of the rule suggest, where its own was not measured.

        A group of a few jobs could not tell start-up from work, and would scale it with the work.
        """
        if row.start_up or _is_control(row):
            return row
        return replace(row, start_up=min(self._start_up[row.rule], MOST_START_UP * row.seconds))

    def _share_of_epochs(self, kind: Kind, max_epochs: int) -> float | None:
        """Return the median share of their epochs that trained runs of this model have used; None where none is known."""
        shares = [
            row.epochs / row.max_epochs
            for row in self.measurements
            if max_epochs and row.model == kind.model and row.max_epochs >= COMPARABLE_EPOCHS * max_epochs
        ]
        return statistics.median(shares) if shares else None


def _is_control(kind: Kind) -> bool:
    return MODELS[kind.model].is_control


def _candidates(kind: Kind, rows: Sequence[Measurement]) -> Iterator[tuple[str, list[Measurement]]]:
    """Yield (name of the basis, measurements), nearest first: those made here before those of the reference table."""
    here, there = ([row for row in rows if row.source == source] for source in ("here", "reference"))
    near, far = (NEAR_FOR_LATENTS, {}) if kind.rule == "latents" else (NEAR, FAR)
    for levels, pool, suffix in ((near, here, ""), (near, there, ", reference"), (far, rows, "")):
        for name, keys in levels.items():
            if alike := [row for row in pool if all(getattr(row, key) == getattr(kind, key) for key in keys)]:
                yield name + suffix, alike


def _scaled(rows: Sequence[Measurement], work: Work) -> tuple[float, float]:
    """Return a job's seconds, scaled to its work from jobs of the same kind, and the factor by which repetitions differ."""
    values = []
    for row in rows:
        ratio = work.work / row.work if row.work else work.units / row.units if row.units else 1.0
        values.append(row.start_up + (row.seconds - row.start_up) * ratio)
    middle = statistics.median(values)
    return middle, max(_factor(value, middle) for value in values)


def _fit_memory(rows: Sequence[Measurement]) -> tuple[float, float]:
    """Return (c, s) of a peak memory c + s arrays that no measurement exceeds."""
    from scipy.optimize import nnls

    peaks, arrays = (np.array([getattr(row, name) for row in rows]) for name in ("peak_memory_mb", "array_mb"))
    # a job's arrays are held at least once, whatever a handful of small jobs suggests
    slope = max(1.0, nnls(np.stack([np.ones(len(rows)), arrays], axis=1), peaks)[0][1])
    return max(0.0, (peaks - slope * arrays).max()), slope


def _factor(a: float, b: float) -> float:
    return max(a, b) / max(min(a, b), 1e-9)
