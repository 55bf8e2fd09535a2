"""This file splits, checks and binarises a data set once, and verifies the result whenever it is read."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixvae.data.arrays import PARTS, Arrays, split
from mixvae.errors import UserError
from mixvae.files import atomic, read_json, require_sha256, sha256, write_json
from mixvae.study import DatasetInfo

BINARISATION_SEED = 777


@dataclass(frozen=True)
class Prepared:
    """A prepared data set: arrays by name, and facts about them.

    arrays:
        x_train, x_valid, x_test: (N, *shape) raw values: uint8 levels, int32 counts or float32 reals.
        x_train_binary, x_valid_binary, x_test_binary: (N, *shape) uint8, for grey images, binarised once for all runs.
        y_train, y_valid, y_test: (N,) int64 labels, indices into meta's `label_names`.
    meta: name, kind, shape, levels, sizes, label_names, binarisation and, for counts, features.
    """

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]

    def points(self, part: str, binary: bool) -> np.ndarray:
        """Return part "train", "valid" or "test" as (N, D) float32: levels scaled to [0, 1], counts and reals as they are.

        With `binary`, return the fixed binarised values. Only grey images have them: raises UserError for other data.
        """
        if binary and self.meta["kind"] != "grey_image":
            raise UserError(f"{self.meta['name']}: only grey images can be binarised, its kind is {self.meta['kind']}")
        x = self.arrays[f"x_{part}_binary" if binary else f"x_{part}"]
        x = x.reshape(len(x), -1).astype(np.float32)
        return x / np.float32(self.meta["levels"]) if self.meta["levels"] and not binary else x


def prepare(name: str, info: DatasetInfo, raw: Arrays) -> Prepared:
    """Split, check and binarise the arrays of a data set. Raises UserError that says what is wrong with them."""
    if raw.x.shape[0] != len(raw.y):
        raise UserError(f"{name}: {raw.x.shape[0]} points but {len(raw.y)} labels")
    expected = info.splits.model_dump()
    if not raw.parts and sum(expected.values()) != len(raw.y):
        raise UserError(f"{name}: {len(raw.y)} points, expected {sum(expected.values())} to split into {expected}")
    parts = raw.parts or split(raw.y, expected)
    sizes = {part: len(parts[part]) for part in PARTS}
    if sizes != expected:
        raise UserError(f"{name}: splits found {sizes}, expected {expected}")
    if len(np.unique(np.concatenate([parts[part] for part in PARTS]))) < sum(sizes.values()):
        raise UserError(f"{name}: a point is in two of the parts {', '.join(PARTS)}, so a test would be of points of training")
    x, features = _keep_genes(name, info, raw, parts["train"])
    _check(name, info, x)
    x = x.astype({"counts": np.int32, "real": np.float32, "density": np.float32}.get(info.kind, np.uint8), copy=False)
    arrays = {f"x_{part}": x[parts[part]] for part in PARTS} | {f"y_{part}": raw.y[parts[part]] for part in PARTS}
    if info.kind == "grey_image":
        # one stream, seeded as in the VampPrior and Mixture-VAE code: first the validation part, then test, then training
        stream = np.random.RandomState(BINARISATION_SEED)
        for part in ("valid", "test", "train"):
            arrays[f"x_{part}_binary"] = stream.binomial(1, arrays[f"x_{part}"] / info.levels).astype(np.uint8)
    meta = {"name": name, "label_names": raw.label_names, "sizes": sizes, "features": features} | info.model_dump(
        mode="json", include={"kind", "shape", "levels", "binarisation"}
    )
    return Prepared(arrays, meta)


def _keep_genes(name: str, info: DatasetInfo, raw: Arrays, train: np.ndarray) -> tuple[np.ndarray, list[str] | None]:
    """Return the points as a dense array, with only the genes to keep if the catalogue limits them, and the features' names."""
    x, features = raw.x, raw.features
    if info.genes is not None:
        if x.shape[1] < info.genes:
            raise UserError(f"{name}: {x.shape[1]} genes, fewer than the {info.genes} to keep; lower genes")
        from mixvae.data.genes import most_variable

        kept = most_variable(x[train], info.genes)
        x, features = x[:, kept], [features[i] for i in kept] if features else None
    return (x if isinstance(x, np.ndarray) else x.toarray()), features


def _check(name: str, info: DatasetInfo, x: np.ndarray) -> None:
    if x.shape[1:] != info.shape:
        raise UserError(f"{name}: points have shape {x.shape[1:]}, expected {info.shape}")
    if info.kind in ("real", "density"):
        if not np.isfinite(x).all():
            raise UserError(f"{name}: {int((~np.isfinite(x)).sum())} values are not finite numbers")
        return
    if not np.issubdtype(x.dtype, np.integer):
        raise UserError(f"{name}: values are {x.dtype}, expected integers")
    if x.min() < 0:
        raise UserError(f"{name}: found the negative value {x.min()}; counts and levels start at 0")
    if info.levels and x.max() > info.levels:
        raise UserError(f"{name}: found the level {x.max()}, expected at most {info.levels}")
    if info.kind == "counts" and (empty := int((x.sum(1) == 0).sum())):
        where = (
            f"in the {info.genes} genes kept; raise genes or remove those cells" if info.genes else "at all; remove those cells"
        )
        raise UserError(f"{name}: {empty} cells have no counts {where}, for they have no library size")


def save(prepared: Prepared, folder: Path) -> None:
    """Write data.npz into `folder`, and dataset.json with the sha256 of data.npz.

    If data.npz was damaged and is now written with the recorded bytes again, it gets its old time of change back, so that
    nothing made from it counts as outdated.
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
    """Read a prepared data set. Raises UserError when its bytes have changed since it was prepared."""
    verify(folder)
    with np.load(folder / "data.npz", allow_pickle=False) as file:
        return Prepared(dict(file), read_json(folder / "dataset.json"))


def verify(folder: Path) -> None:
    """Raise UserError when data.npz does not have the sha256 in dataset.json."""
    meta = read_json(folder / "dataset.json")
    repair = f"repair it: python scripts/prepare.py --dataset {meta['name']} --folder {folder}"
    require_sha256(folder / "data.npz", meta["sha256"], "changed since it was prepared, ", repair)
