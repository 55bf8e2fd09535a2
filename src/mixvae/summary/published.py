"""Reads config/published.csv, the published values, and tells which runs each of them compares with."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixvae.errors import UserError

PATH = Path("config/published.csv")
FIELDS = ("system", "dataset", "binarisation", "metric", "value", "unit", "grade", "source", "match")


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of published.csv as they are written; raises UserError when one is not complete."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; restore it from the repository") from None
    for line, row in enumerate(rows, start=2):
        try:
            parse_match(row["match"])
            complete = set(row) == set(FIELDS) and math.isfinite(float(row["value"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            complete = False
        if not complete:
            raise UserError(
                f"{path}: row {line}: expected {','.join(FIELDS)} with a number as value and match as key=value;..."
            )
    return rows


def parse_match(text: str) -> dict[str, str]:
    """Return the selector `key=value;...` as a mapping; raises ValueError."""
    return dict(pair.split("=") for pair in text.split(";") if pair)


def matches(selector: Mapping[str, str], spec: Mapping[str, Any]) -> bool:
    """Return whether a flattened spec has the selector's value for each of its keys; an empty selector matches nothing."""
    return bool(selector) and all(key in spec and _equal(spec[key], value) for key, value in selector.items())


def _equal(value: Any, text: str) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return value == float(text)
        except ValueError:
            return False
    return str(value) == text
