"""This file reads the catalogue config/datasets.yaml, which describes every data set before any of its data are read."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from mixvae.errors import UserError
from mixvae.study.base import Frozen, Sizes
from mixvae.study.explain import explain

PATH = Path(__file__).resolve().parents[3] / "config" / "datasets.yaml"
UNPUBLISHED = "unpublished"


class RawFile(Frozen):
    """One file as its publisher distributes it, with exactly one digest.

    sha256: The file's sha256; or "unpublished" where no digest is known: any file is then accepted, with a warning that names
        its sha256.
    md5: The file's md5, where no sha256 is published.
    """

    sha256: Annotated[str, Field(pattern=f"^([0-9a-f]{{64}}|{UNPUBLISHED})$")] | None = None
    md5: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    sources: list[str] = Field([])

    @model_validator(mode="after")
    def _one_digest(self) -> RawFile:
        if (self.sha256 is None) == (self.md5 is None):
            raise ValueError(f"give either sha256 or md5 (sha256: {UNPUBLISHED} when neither is known)")
        return self

    @property
    def digest(self) -> tuple[str, str] | None:
        """The name of the hash and its expected value, or None when there is nothing to compare with."""
        if self.md5:
            return "md5", self.md5
        return None if self.sha256 == UNPUBLISHED else ("sha256", self.sha256)


class Splits(Frozen):
    """The numbers of points in the training, validation and test parts."""

    train: Annotated[int, Field(gt=0)]
    valid: Annotated[int, Field(gt=0)]
    test: Annotated[int, Field(gt=0)]


class ReaderOptions(Frozen):
    """The options of a reader of users' own files.

    keys: For .npz, the file's array for each name that differs: {x_train: images}.
    label: For .h5ad, the column of obs that holds the labels; None for no labels.
    """

    keys: dict[str, str] = Field({})
    label: str | None = None


class DatasetInfo(Frozen):
    """A data set's entry in the catalogue.

    levels: The largest grey or colour level, for images.
    genes: For counts, how many genes are kept: those most variable among the training cells.
    reader: The module of mixvae.data that reads users' own files; None for the one named after the data set.
    """

    title: str
    kind: Literal["grey_image", "colour_image", "counts", "real", "density"]
    shape: Sizes
    levels: Annotated[int, Field(gt=0, le=255)] | None = None
    classes: Annotated[int, Field(ge=1)]
    genes: Annotated[int, Field(gt=0)] | None = None
    binarisation: str | None = None
    splits: Splits
    files: dict[str, RawFile]
    reader: Literal["own_npz", "own_h5ad"] | None = None
    options: ReaderOptions = ReaderOptions()
    licence: str
    citation: str

    @property
    def is_image(self) -> bool:
        """Whether the points are images."""
        return self.kind.endswith("_image")

    @model_validator(mode="after")
    def _consistent(self) -> DatasetInfo:
        if self.is_image != (self.levels is not None):
            raise ValueError(f"levels belongs to images, all of them and nothing else; the kind is {self.kind}")
        if self.genes is not None and (self.kind, self.shape) != ("counts", (self.genes,)):
            raise ValueError(f"genes: {self.genes} needs kind counts and shape [{self.genes}]")
        return self


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
