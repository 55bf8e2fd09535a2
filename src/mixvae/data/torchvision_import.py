"""torchvision.datasets is imported even where torchvision's compiled operators do not load."""

from __future__ import annotations

import sys
from types import ModuleType

MISSING = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def datasets() -> ModuleType:
    """Return torchvision.datasets, which is pure Python.

    A torchvision wheel beside a torch of another build (say CPU-only) cannot load its C++ library, and its import then
    fails on operators that no data set uses. In that case alone their schemas are declared, without an implementation.
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
