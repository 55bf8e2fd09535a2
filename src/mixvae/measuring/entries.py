"""This file makes a metric's entry in the files of a run, which has three fields: value, standard error and unit."""

from typing import Any

import numpy as np

SHARE = "share of test points"


def entry(value: float | None, unit: str, stderr: float | None = None) -> dict[str, Any]:
    """Return a metric's entry; the value is None if it could not be measured."""
    return {"value": value, "stderr": stderr, "unit": unit}


def mean_of(values: np.ndarray, unit: str) -> dict[str, Any]:
    """Return the entry of the mean of (N,), with its standard error, which is None for a single value."""
    stderr = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return entry(float(values.mean()), unit, stderr)
