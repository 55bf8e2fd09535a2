"""Data sets: one file each with a function `load(raw)`, their entries in config/datasets.yaml, and what they share."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from mixvae.data.arrays import Arrays


def load_raw(name: str, raw: Path) -> Arrays:
    """Read data set `name` from the folder of its verified raw files."""
    return import_module(f"mixvae.data.{name}").load(raw)
