"""This file reads a user's own images from an .npz file of uint8 arrays."""

import difflib
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mixvae.data.arrays import PARTS, Arrays, divide, split
from mixvae.errors import UserError, did_you_mean
from mixvae.study.catalogue import ReaderOptions

NAMES = ("x", "y", *(f"{axis}_{part}" for part in PARTS for axis in "xy"))
LAYOUTS = "(N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3"
MINIMUM = 10


def read(path: Path, options: ReaderOptions) -> Arrays:
    """Read images, labels and parts from an .npz file.

    The file holds x_train, x_valid and x_test with their y_..., or x and y. All labels may be absent. Parts that are absent are
    taken from x or x_train with the fixed split seed: 80/10/10 per cent of its points, or 8 to 1 if only one part is absent.

    Raises UserError that names the file and what is wrong with it.
    """
    arrays = _open(path, options.keys)
    if "x" in arrays and any(f"x_{part}" in arrays for part in PARTS):
        raise UserError(
            f"{path}: holds x and x_train, x_valid or x_test; which is it? Choose with keys: {{x: x}} or "
            "keys: {x_train: x_train}"
        )
    whole = {part: _images(path, name, arrays[name]) for part, name in _named(arrays, "x") if name in arrays}
    labels = {part: arrays[name] for part, name in _named(arrays, "y") if name in arrays}
    if labels and set(labels) != set(whole):
        raise UserError(f"{path}: images of {', '.join(whole)}, but labels of {', '.join(labels)}; give labels to all or none")
    if len({(x.dtype, x.shape[1:]) for x in whole.values()}) > 1:
        raise UserError(f"{path}: images differ: {', '.join(f'{part} {x.shape[1:]}' for part, x in whole.items())}")
    sizes = {part: len(x) for part, x in whole.items()}
    y, names = _labels(path, sizes, labels)
    parts = dict(zip(sizes, np.split(np.arange(len(y)), np.cumsum(list(sizes.values()))[:-1]), strict=True))
    parts |= _divide(path, y[: sizes["train"]], [part for part in PARTS if part not in sizes])
    return Arrays(np.concatenate(list(whole.values())), y, names, parts={part: parts[part] for part in PARTS})


def _named(arrays: Iterable[str], axis: str) -> list[tuple[str, str]]:
    """Return (part, name of its array) for every part; a single array x or y counts as the training part."""
    return [("train", axis)] if axis in arrays else [(part, f"{axis}_{part}") for part in PARTS]


def _open(path: Path, keys: dict[str, str]) -> dict[str, np.ndarray]:
    """Return the arrays of the file that are used, by the names in `NAMES`; `keys` gives their names in the file."""
    for ours in keys:
        if ours not in NAMES:
            raise UserError(f"{path}: keys: unknown name {ours!r}{did_you_mean(ours, NAMES)}")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: not an .npz file, or one cut short; write it again with numpy.savez_compressed")
    arrays: dict[str, np.ndarray] = {}
    theirs = "the file"
    try:
        with np.load(path, allow_pickle=False) as file:
            for ours, theirs in keys.items():
                if theirs not in file.files:
                    raise UserError(f"{path}: keys.{ours}: no array {theirs!r} in the file{did_you_mean(theirs, file.files)}")
            names = {name: keys.get(name, name) for name in NAMES if name in keys or name not in keys.values()}
            if keys and len(chosen := {name in ("x", "y") for name in keys}) == 1:
                # keys that name only x and y, or only parts, choose that kind; arrays of the other kind are not read
                names = {ours: theirs for ours, theirs in names.items() if (ours in ("x", "y")) in chosen}
            others = [name for name in file.files if name not in names.values() and name not in NAMES]
            for ours, theirs in names.items():
                if theirs in file.files:
                    arrays[ours] = file[theirs]
            for name in others:
                # a misspelt x_test must not silently become a test part made from the training part
                if near := difflib.get_close_matches(name, [name for name in NAMES if name not in arrays], n=1, cutoff=0.8):
                    raise UserError(f"{path}: array {name!r} is none of {', '.join(NAMES)} (did you mean {near[0]!r}?)")
            if not {"x", "x_train"} & set(arrays):
                found = ", ".join(sorted(file.files)) or "nothing"
                raise UserError(f"{path}: no array x_train or x; the file holds {found}; name it with keys: {{x: ...}}")
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise UserError(
                f"{path}: {theirs} holds pickled Python objects, which are not read; save numbers or text"
            ) from None
        raise UserError(f"{path}: {theirs} cannot be read: {error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise UserError(f"{path}: damaged, {error}; write it again with numpy.savez_compressed") from None
    return arrays


def _images(path: Path, name: str, x: np.ndarray) -> np.ndarray:
    """Return images as (N, C, H, W)."""
    if x.dtype != np.uint8:
        raise UserError(f"{path}: {name} is {x.dtype}, expected uint8 levels from 0 to 255")
    axes = [axis for axis in (1, 3) if x.ndim == 4 and x.shape[axis] in (1, 3)]
    if 0 in x.shape or (x.ndim != 3 and len(axes) != 1):
        raise UserError(f"{path}: {name} has shape {x.shape}, expected {LAYOUTS}")
    if x.ndim == 3:
        return x[:, None]
    return x if axes == [1] else np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def _labels(path: Path, sizes: dict[str, int], labels: dict[str, np.ndarray]) -> tuple[np.ndarray, list[str]]:
    """Return all labels as indices into the sorted names, and these names."""
    if not labels:
        return np.zeros(sum(sizes.values()), dtype=np.int64), ["unlabelled"]
    for part, y in labels.items():
        if y.shape not in ((sizes[part],), (sizes[part], 1)):
            raise UserError(f"{path}: labels of {part} have shape {y.shape}, expected ({sizes[part]},), one per image")
        if y.dtype.kind not in "iubUS":
            raise UserError(f"{path}: labels of {part} are {y.dtype}, expected integers or text")
    if len({y.dtype.kind in "US" for y in labels.values()}) > 1:
        raise UserError(f"{path}: labels are text in one part and numbers in another")
    names, y = np.unique(np.concatenate([labels[part].ravel() for part in sizes]), return_inverse=True)
    return y.astype(np.int64), [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _divide(path: Path, y: np.ndarray, absent: list[str]) -> dict[str, np.ndarray]:
    """Return the indices of the absent parts, taken from the training part, and of the rest of it; {} if none is absent."""
    if not absent:
        return {}
    if len(y) < MINIMUM:
        raise UserError(f"{path}: {len(y)} points are too few to make a {' and a '.join(absent)} part from; give all parts")
    if len(absent) == 2:
        held_out = len(y) // 10
        return split(y, {"train": len(y) - 2 * held_out, "valid": held_out, "test": held_out})
    held_out = len(y) // 9
    train, other = divide(np.arange(len(y)), y, len(y) - held_out, held_out)
    return {"train": np.sort(train), absent[0]: np.sort(other)}
