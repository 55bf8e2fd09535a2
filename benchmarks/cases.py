"""What is measured: the systems of the Mixture-VAE paper in their own sizes, on points that are drawn, since values take no time."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from mixvae.data.prepared import Prepared
from mixvae.models import build
from mixvae.study import Run, parse_run

POINTS = 5000
"""Training points: a VampPrior of 500 pseudo-inputs needs ten times as many."""
VALID = 10

VAMP, MOG = {"name": "vamp", "components": 500}, {"name": "mog", "components": 500}
CONV, PIXELCNN = {"name": "conv"}, {"name": "pixelcnn"}
HVAE = {"model": "hvae"}
LOWER = {"name": "conv", "layers": [[32, 3, 1], [32, 3, 2], [64, 3, 1], [64, 3, 2], [6, 3, 1]]}
COMPOSITE = {
    **HVAE,
    "encoder": CONV,
    "lower": LOWER,
    "decoder": PIXELCNN,
    "prior": VAMP,
    "flow": "iaf",
    # a quarter of the paper's, for minutes
    "training": {"batch_size": 25},
}
CELLS = {
    "likelihood": "zinb",
    "latent": 10,
    "encoder": {"hidden": [128], "activation": "relu", "dropout": 0.1},
    "decoder": {"hidden": [128], "activation": "relu", "dropout": 0.1},
    "training": {"learning_rate": 1e-3, "batch_size": 512},
}
# the demo study's networks, whose steps are mostly Python's
DEMO = {"latent": 8, "encoder": {"hidden": [64, 64]}, "decoder": {"hidden": [64, 64]}}
DEMO_PARTS = {"prior": {"name": "vamp", "components": 100}, "flow": {"name": "iaf", "hidden": [32, 32]}}
CIFAR10 = {
    "likelihood": "logistics",
    "latent": 128,
    "encoder": {"name": "conv", "layers": [[32, 4, 2], [64, 4, 2], [128, 4, 2]], "activation": "relu"},
    "decoder": {"name": "deconv"},
}


@dataclass(frozen=True)
class Case:
    """One model in one size.

    name: As in the tables.
    changes: What its spec has beside the defaults.
    shape, levels: Of its points; levels 255 of images, None of counts.
    naive: Whether there is a naive formulation of it.
    """

    name: str
    changes: dict[str, Any] = field(hash=False)
    shape: tuple[int, ...] = (1, 28, 28)
    levels: int | None = 255
    naive: bool = True

    @cached_property
    def spec(self) -> Run:
        """The run."""
        return parse_run({"dataset": "drawn", "model": "vae", "likelihood": "bernoulli", **self.changes})

    def data(self) -> Prepared:
        """Return drawn points, as a prepared data set."""
        rng, images = np.random.default_rng(0), self.levels is not None
        kind = ("grey_image" if self.shape[0] == 1 else "colour_image") if images else "counts"
        arrays = {}
        for part, n in (("train", POINTS), ("valid", VALID)):
            shape = (n, *self.shape)
            arrays[f"y_{part}"] = np.zeros(n, dtype=int)
            if images:
                arrays[f"x_{part}"] = rng.integers(0, 256, shape, dtype=np.uint8)
                arrays[f"x_{part}_binary"] = rng.integers(0, 2, shape, dtype=np.uint8)
            else:
                arrays[f"x_{part}"] = rng.poisson(rng.gamma(0.3, 2.0, shape)).astype(np.int32) + (np.arange(shape[1]) == 0)
        return Prepared(arrays, {"name": "drawn", "kind": kind, "shape": list(self.shape), "levels": self.levels})

    def model(self, device: torch.device) -> nn.Module:
        """Return the library's model at its start."""
        x = torch.from_numpy(self.data().points("train", binary=False))
        return build(self.spec, x, self.shape).to(device)

    @property
    def dimensions(self) -> int:
        """D."""
        return math.prod(self.shape)


def _over_k(name: str, K: tuple[int, ...], changes: dict[str, Any], **further: Any) -> list[Case]:
    return [Case(f"{name}-K{k}", {**changes, "K": k}, **further) for k in K]


CASES = {
    case.name: case
    for case in (
        *_over_k("demo", (1, 4), DEMO, shape=(1, 8, 8)),
        *_over_k("demo-vamp-iaf", (4,), {**DEMO, **DEMO_PARTS}, shape=(1, 8, 8)),
        *_over_k("mlp", (1, 2, 4), {}),
        *_over_k("mlp-mog", (4,), {"prior": MOG}),
        *_over_k("mlp-vamp", (1, 4), {"prior": VAMP}),
        *_over_k("mlp-iaf", (1, 4), {"flow": "iaf"}),
        *_over_k("mlp-coupling", (4,), {"flow": "coupling"}),
        *_over_k("mlp-vamp-iaf", (4,), {"prior": VAMP, "flow": "iaf"}),
        *_over_k("mlp-vamp-coupling", (4,), {"prior": VAMP, "flow": "coupling"}),
        *_over_k("conv", (1, 4), {"encoder": CONV}),
        *_over_k("pixelcnn", (1, 4), {"encoder": CONV, "decoder": PIXELCNN}),
        *_over_k("hvae", (1, 4), HVAE),
        *_over_k("hvae-conv", (4,), {**HVAE, "encoder": CONV, "lower": LOWER}),
        *_over_k("composite", (1, 4), COMPOSITE),
        *_over_k("cells", (1, 4), CELLS, shape=(1200,), levels=None),
        *_over_k("cells-vamp", (4,), {**CELLS, "prior": VAMP}, shape=(1200,), levels=None),
        *_over_k("cifar10", (1, 3), CIFAR10, shape=(3, 32, 32), naive=False),
        *_over_k("mvae", (4,), {"model": "mvae", "likelihood": {"name": "gaussian", "std": 0.1}}, naive=False),
        *_over_k("cpvae", (10,), {"model": "cpvae"}, naive=False),
        *_over_k("gmvae", (10,), {"model": "gmvae"}, naive=False),
        *_over_k("gmvae_shu", (10,), {"model": "gmvae_shu"}, naive=False),
    )
}
