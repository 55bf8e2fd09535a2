"""Runs that train in a second, and data for them."""

import numpy as np
import torch

from mixvae.data.arrays import Arrays
from mixvae.data.prepared import Prepared
from mixvae.study import DatasetInfo, Run, parse_run

DENSE = {"latent": 3, "encoder": {"hidden": [12]}, "decoder": {"hidden": [12]}}
SMALL = {
    "digits": {"likelihood": "bernoulli", **DENSE},
    "toy1d": {"likelihood": "gaussian", **DENSE},
    "colours": {"likelihood": "gaussian", **DENSE},
    "pbmc68k_reduced": {
        "likelihood": "zinb",
        "latent": 3,
        "encoder": {"hidden": [8], "activation": "relu", "dropout": 0.1},
        "decoder": {"hidden": [8], "activation": "relu"},
    },
}


COLOURS = DatasetInfo(
    title="Rectangles of one colour on a ground of another",
    kind="colour_image",
    shape=(3, 8, 8),
    levels=255,
    classes=2,
    splits={"train": 240, "valid": 60, "test": 60},
    files={},
    licence="none",
    citation="none",
)


def colours() -> Arrays:
    """Draw a colour data set small enough for convolutions; the label says whether the rectangle is red or blue."""
    rng, n = np.random.default_rng(0), sum(COLOURS.splits.model_dump().values())
    x, y = rng.integers(90, 110, (n, 3, 8, 8)), rng.integers(0, 2, n)
    for image, label, (top, left) in zip(x, y, rng.integers(0, 5, (n, 2)), strict=True):
        image[2 * label, top : top + 4, left : left + 4] += 120
    return Arrays(x.astype(np.uint8), y, ["red", "blue"])


def small_spec(dataset: str = "digits", **changes) -> Run:
    """A run that trains in a second."""
    base = {"dataset": dataset, "model": "vae", "K": 2, "training": {"epochs": 3, "warmup": 2, "batch_size": 200}}
    return parse_run({**base, "evaluation": {"samples": 50, "ais": "none"}, **SMALL[dataset], **changes})


def points(data: Prepared, part: str = "test", n: int | None = None) -> torch.Tensor:
    """Return the first n points of a part as an evaluation sees them, (n, D): grey images binarised."""
    return torch.from_numpy(data.points(part, data.meta["kind"] == "grey_image")[:n])
