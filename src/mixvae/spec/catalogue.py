"""The catalogue of data sets, config/datasets.yaml."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from mixvae.errors import UserError
from mixvae.spec.base import Frozen, Sizes
from mixvae.spec.explain import explain

PATH = Path(__file__).resolve().parents[3] / "config" / "datasets.yaml"


class RawFile(Frozen):
    """One file as its publisher distributes it."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    sources: list[str]


class Splits(Frozen):
    """How many points each part holds."""

    train: Annotated[int, Field(gt=0)]
    valid: Annotated[int, Field(gt=0)]
    test: Annotated[int, Field(gt=0)]


class DatasetInfo(Frozen):
    """What is known of a data set before a byte of it is read."""

    title: str
    kind: Literal["binary_image", "counts"]
    shape: Sizes
    levels: Annotated[int, Field(gt=0)] | None = None
    classes: Annotated[int, Field(gt=1)]
    binarisation: str | None = None
    splits: Splits
    files: dict[str, RawFile]
    licence: str
    citation: str


@cache
def catalogue() -> dict[str, DatasetInfo]:
    """Return every known data set by name. Raises UserError for an entry that is wrong."""
    entries = {}
    for name, entry in yaml.safe_load(PATH.read_text(encoding="utf-8")).items():
        try:
            entries[name] = DatasetInfo.model_validate(entry)
        except ValidationError as error:
            raise UserError(f"config/{PATH.name}: {explain(error, [DatasetInfo], (name,))}") from None
    return entries
