"""A data set ready for use: split, checked, binarised where it must be, and verified whenever it is read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixvae.data.arrays import Arrays
from mixvae.errors import UserError
from mixvae.files import atomic, read_json, sha256, write_json
from mixvae.spec import DatasetInfo

PARTS = ("train", "valid", "test")
SPLIT_SEED = BINARISATION_SEED = 777


@dataclass(frozen=True)
class Prepared:
    """Arrays by name and what is known about them.

    x_train: (N, *shape); grey levels for a binary image, to be binarised anew for every batch.
    x_train_fixed: (N, *shape); for a binary image the training part binarised once, for probes.
    x_valid, x_test: (N, *shape); binarised once for a binary image.
    y_train, y_valid, y_test: (N,) labels.
    """

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]

    def flat(self, name: str) -> np.ndarray:
        """Return array `name` as (N, D) float32, grey levels scaled to [0, 1]."""
        x = self.arrays[name]
        x = x.reshape(len(x), -1).astype(np.float32)
        grey = name == "x_train" and self.meta["kind"] == "binary_image"
        return x / np.float32(self.meta["levels"]) if grey else x

    def fixed(self, part: str) -> np.ndarray:
        """Return part "train", "valid" or "test" as one unchanging (N, D) float32 array."""
        name = f"x_{part}_fixed"
        return self.flat(name if name in self.arrays else f"x_{part}")


def prepare(name: str, info: DatasetInfo, raw: Arrays) -> Prepared:
    """Split and check the arrays of a data set. Raises UserError naming what is wrong with them."""
    _check(name, info, raw)
    parts = raw.parts or _stratified(raw.y, info)
    sizes = {part: len(parts[part]) for part in PARTS}
    if sizes != info.splits.model_dump():
        raise UserError(f"{name}: splits found {sizes}, expected {info.splits.model_dump()}")
    arrays = {f"x_{part}": raw.x[parts[part]] for part in PARTS} | {f"y_{part}": raw.y[parts[part]] for part in PARTS}
    if info.kind == "binary_image":
        # validation, then test, from one stream seeded as in the VampPrior and Mixture-VAE code; the training part last
        stream = np.random.RandomState(BINARISATION_SEED)
        for part, target in (("valid", "x_valid"), ("test", "x_test"), ("train", "x_train_fixed")):
            arrays[target] = stream.binomial(1, arrays[f"x_{part}"] / info.levels).astype(np.uint8)
    if raw.features is not None:
        arrays["features"] = np.array(raw.features)
    meta = {"name": name, "label_names": raw.label_names, "sizes": sizes} | info.model_dump(
        mode="json", include={"kind", "shape", "levels", "binarisation"}
    )
    return Prepared(arrays, meta)


def _check(name: str, info: DatasetInfo, raw: Arrays) -> None:
    if raw.x.shape[1:] != info.shape:
        raise UserError(f"{name}: points have shape {raw.x.shape[1:]}, expected {info.shape}")
    if len(raw.x) != len(raw.y):
        raise UserError(f"{name}: {len(raw.x)} points but {len(raw.y)} labels")
    if not np.issubdtype(raw.x.dtype, np.integer):
        raise UserError(f"{name}: values are {raw.x.dtype}, expected integers")
    if raw.x.min() < 0:
        raise UserError(f"{name}: found the negative value {raw.x.min()}; counts and grey levels start at 0")
    if info.kind == "binary_image" and raw.x.max() > info.levels:
        raise UserError(f"{name}: found the grey level {raw.x.max()}, expected at most {info.levels}")
    if info.kind == "counts" and (empty := int((raw.x.sum(1) == 0).sum())):
        raise UserError(f"{name}: {empty} cells have no counts at all, so no library size; remove them")


def _stratified(y: np.ndarray, info: DatasetInfo) -> dict[str, np.ndarray]:
    from sklearn.model_selection import train_test_split

    sizes = info.splits
    rest, test = train_test_split(np.arange(len(y)), test_size=sizes.test, stratify=y, random_state=SPLIT_SEED)
    train, valid = train_test_split(
        rest, train_size=sizes.train, test_size=sizes.valid, stratify=y[rest], random_state=SPLIT_SEED
    )
    return {"train": np.sort(train), "valid": np.sort(valid), "test": np.sort(test)}


def save(prepared: Prepared, folder: Path) -> None:
    """Write data.npz, and dataset.json with its sha256, into `folder`.

    A data.npz that was damaged and comes out with the recorded bytes again keeps its age: what was made from it is still good.
    """
    with atomic(folder / "data.npz") as temporary:
        np.savez_compressed(temporary, **prepared.arrays)
    path, meta = folder / "dataset.json", prepared.meta | {"sha256": sha256(folder / "data.npz")}
    if path.is_file() and read_json(path) == meta:
        age = path.stat().st_mtime_ns
        os.utime(folder / "data.npz", ns=(age, age))
    else:
        write_json(path, meta)


def load(folder: Path) -> Prepared:
    """Read a prepared data set, refusing bytes that are not those that were prepared. Raises UserError."""
    verify(folder)
    with np.load(folder / "data.npz", allow_pickle=False) as file:
        return Prepared(dict(file), read_json(folder / "dataset.json"))


def verify(folder: Path) -> None:
    """Raise UserError when data.npz is not what dataset.json says was prepared."""
    path, meta = folder / "data.npz", read_json(folder / "dataset.json")
    found = sha256(path) if path.is_file() else "no file"
    if found != meta["sha256"]:
        repair = f"python scripts/prepare.py --dataset {meta['name']} --folder {folder}"
        raise UserError(
            f"{path}: changed since it was prepared, sha256 expected {meta['sha256']} found {found}; repair it: {repair}"
        )
