"""Every metric in the files of a run has the same three fields: value, standard error and unit."""

from __future__ import annotations

from typing import Any

import numpy as np

SHARE = "share of test points"


def entry(value: float | None, unit: str, stderr: float | None = None) -> dict[str, Any]:
    """Return a metric as it stands in a file; None for a value that could not be measured."""
    return {"value": value, "stderr": stderr, "unit": unit}


def mean_of(values: np.ndarray, unit: str) -> dict[str, Any]:
    """Return the mean of (N,) with its standard error, None for a single value."""
    stderr = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return entry(float(values.mean()), unit, stderr)
