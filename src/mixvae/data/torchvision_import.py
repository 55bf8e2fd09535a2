"""This file imports torchvision.datasets even where torchvision's compiled operators do not load."""

import sys
from types import ModuleType

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
