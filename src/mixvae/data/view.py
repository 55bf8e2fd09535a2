"""This file gives a run its points of a data set: as many as its settings say, binarised or not."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mixvae.data.prepared import Prepared
from mixvae.study import Run

SUBSET_SEED = 777
"""The seed that chooses the points of a run that does not use all points."""


class Points(NamedTuple):
    """Some points of a part of the data.

    x: (N, D) float32.
    y: (N,) labels, indices into the data's `label_names`.
    indices: (N,), the points' positions in the part.
    """

    x: Tensor
    y: np.ndarray
    indices: np.ndarray


def to_train_on(data: Prepared, spec: Run) -> Tensor:
    """Return the run's training points, (N, D), not binarised: training binarises grey values anew for every batch."""
    return _points(data, "train", spec.training_points, binary=False).x


def to_measure_on(data: Prepared, spec: Run, part: str, most: int | None = None) -> Points:
    """Return at most `most` points of a part for measuring, with the fixed binarised values if the likelihood is binary."""
    return _points(data, part, most, spec.likelihood.binary)


def subset_indices(n: int, most: int | None) -> np.ndarray:
    """Return at most `most` of 0 .. n - 1, sorted, chosen by a seed that is the same for every model; all for None."""
    return np.sort(np.random.default_rng(SUBSET_SEED).permutation(n)[:most])


def _points(data: Prepared, part: str, most: int | None, binary: bool) -> Points:
    x = data.points(part, binary)
    indices = subset_indices(len(x), most)
    x = x if len(indices) == len(x) else x[indices]
    return Points(torch.from_numpy(x), data.arrays[f"y_{part}"][indices], indices)
