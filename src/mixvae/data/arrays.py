"""`Arrays` holds a data set as its `load` function returns it; where no protocol divides its points, this file does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

PARTS = ("train", "valid", "test")
SPLIT_SEED = 777


@dataclass(frozen=True)
class Arrays:
    """A data set as read from its raw files.

    x: (N, C, H, W) uint8 grey or colour levels, (N, D) integer counts (dense or CSR), or (N, D) float32 reals.
    y: (N,) integer labels, indices into `label_names`.
    features: (D,) names of the columns, for counts.
    parts: indices of "train", "valid" and "test" where a protocol fixes them; None for a stratified split.
    """

    x: np.ndarray | csr_matrix
    y: np.ndarray
    label_names: list[str]
    features: list[str] | None = None
    parts: dict[str, np.ndarray] | None = None


def split(y: np.ndarray, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Return sorted indices of each part, drawn with the fixed split seed so that every part holds every class in proportion.

    If a class is too rare for that, the draw ignores classes. `sizes` has the numbers of points in "train", "valid" and "test",
    whose sum is the number N of labels y, (N,).
    """
    rest, test = divide(np.arange(len(y)), y, sizes["train"] + sizes["valid"], sizes["test"])
    train, valid = divide(rest, y, sizes["train"], sizes["valid"])
    return {"train": np.sort(train), "valid": np.sort(valid), "test": np.sort(test)}


def consecutive(*sizes: int) -> dict[str, np.ndarray]:
    """Return the indices of parts that follow one another: first training, then validation, then test."""
    return dict(zip(PARTS, np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]), strict=True))


def divide(indices: np.ndarray, y: np.ndarray, first: int, second: int) -> list[np.ndarray]:
    """Return the `indices` into `y` as two parts of the given sizes; stratified if both parts can hold every class."""
    from sklearn.model_selection import train_test_split

    counts = np.unique(y[indices], return_counts=True)[1]
    possible = counts.min() >= 2 and min(first, second) >= len(counts)
    return train_test_split(
        indices, train_size=first, test_size=second, stratify=y[indices] if possible else None, random_state=SPLIT_SEED
    )
