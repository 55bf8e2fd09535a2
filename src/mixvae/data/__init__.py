"""This room reads data sets and prepares them for runs; each data set has a file with a function `load(raw)`."""

from importlib import import_module
from pathlib import Path

from mixvae.data.arrays import Arrays
from mixvae.study import DatasetInfo


def load_raw(name: str, raw: Path, info: DatasetInfo | None = None) -> Arrays:
    """Read data set `name` from the folder of its verified raw files; `info` is needed for a user's own data only."""
    if info and info.reader:
        return import_module(f"mixvae.data.{info.reader}").read(raw / f"data.{info.reader.removeprefix('own_')}", info.options)
    return import_module(f"mixvae.data.{name}").load(raw)
