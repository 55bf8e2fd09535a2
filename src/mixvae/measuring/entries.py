"""This file makes a metric's entry in the files of a run, which has three fields: value, standard error and unit."""

from typing import Any

import numpy as np

from mixvae.study.metrics import metric_of


def entry(value: float | None, unit: str, stderr: float | None = None) -> dict[str, Any]:
    """Return a metric's entry; the value is None if it could not be measured."""
    return {"value": value, "stderr": stderr, "unit": unit}


def entries(measured: dict[str, np.ndarray | float | None]) -> dict[str, dict[str, Any]]:
    """Return the entries of metrics by name, each from its value, or from its values at (N,) points.

    Those of points give their mean and its standard error, which is None for a single point.
    """
    result = {}
    for name, found in measured.items():
        value, stderr = found, None
        if isinstance(found, np.ndarray):
            value = float(found.mean())
            stderr = float(found.std(ddof=1) / np.sqrt(len(found))) if len(found) > 1 else None
        result[name] = entry(value, metric_of(name).unit, stderr)
    return result
