"""This file makes a metric's entry in the files of a run: its value, two errors, and its unit."""

from typing import Any

import numpy as np

from mixvae.study.metrics import metric_of


def entry(value: float | None, unit: str, stderr: float | None = None, mc_error: float | None = None) -> dict[str, Any]:
    """Return a metric's entry; the value is None if it could not be measured.

    Arguments:
        stderr: The standard error over points.
        mc_error: The standard error of the estimate itself, for these points: how far it would vary with other random numbers.
    """
    return {"value": value, "stderr": stderr, "mc_error": mc_error, "unit": unit}


def entries(measured: dict[str, np.ndarray | float | None]) -> dict[str, dict[str, Any]]:
    """Return the entries of metrics by name, each from its value, or from its values at (N,) points."""
    return {
        name: of_points(name, found) if isinstance(found, np.ndarray) else entry(found, metric_of(name).unit)
        for name, found in measured.items()
    }


def of_points(name: str, values: np.ndarray, variances: np.ndarray | None = None) -> dict[str, Any]:
    """Return a metric's entry from its values at (N,) points: their mean and its standard error, which is None for one point.

    Arguments:
        variances: The Monte Carlo variance of each value, (N,).
    """
    stderr = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    mc_error = None if variances is None else float(np.sqrt(variances.sum()) / len(values))
    return entry(float(values.mean()), metric_of(name).unit, stderr, mc_error)
