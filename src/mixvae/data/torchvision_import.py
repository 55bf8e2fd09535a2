"""This file imports torchvision.datasets even where its compiled operators do not load, and reads data sets by it."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from mixvae.data.arrays import Arrays, consecutive

HELD_OUT = 10_000
"""How many training images, the last ones, are the validation part."""
MISSING = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def datasets() -> ModuleType:
    """Return torchvision.datasets, which is pure Python.

    If torch is of another build than torchvision (say CPU-only), torchvision's C++ library does not load, and the import fails
    because of operators that no data set uses. Only then are these operators declared, without an implementation.
    """
    import torch

    try:
        import torchvision.datasets
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        # the failed import leaves half-made modules behind
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in MISSING:
            torch.library.define(f"torchvision::{operator}", SCHEMA)
        import torchvision.datasets
    return torchvision.datasets


def arrays_of(build: Callable[..., Any], root: str) -> Arrays:
    """Return the data set of a class of torchvision, whose files lie in `root`."""
    train, test = build(root, train=True), build(root, train=False)
    x = np.concatenate([np.asarray(train.data), np.asarray(test.data)])
    x = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
    y = np.concatenate([np.asarray(train.targets), np.asarray(test.targets)]).astype(np.int64)
    return Arrays(x, y, list(train.classes), parts=consecutive(len(train) - HELD_OUT, HELD_OUT, len(test)))
