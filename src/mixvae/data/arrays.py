"""`Arrays` holds a data set as its `load` function returns it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


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
