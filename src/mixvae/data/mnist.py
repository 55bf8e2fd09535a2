"""This file reads MNIST by torchvision; the last 10,000 training digits are the validation part."""

import tempfile
from pathlib import Path

import numpy as np

from mixvae.data.arrays import Arrays
from mixvae.data.splits import consecutive
from mixvae.data.torchvision_import import datasets

HELD_OUT = 10_000


def load(raw: Path) -> Arrays:
    """Read the four idx files."""
    return load_idx("MNIST", raw)


def load_idx(dataset: str, raw: Path) -> Arrays:
    """Read the data set of torchvision's class `dataset`, which has MNIST's file format, from verified archives."""
    torchvision_datasets = datasets()
    with tempfile.TemporaryDirectory() as root:
        unpacked = Path(root, dataset, "raw")
        unpacked.mkdir(parents=True)
        for archive in raw.glob("*.gz"):
            torchvision_datasets.utils.extract_archive(str(archive), str(unpacked))
        build = getattr(torchvision_datasets, dataset)
        train, test = build(root, train=True), build(root, train=False)
    x = np.concatenate([train.data.numpy(), test.data.numpy()])[:, None]
    y = np.concatenate([train.targets.numpy(), test.targets.numpy()]).astype(np.int64)
    return Arrays(x, y, list(train.classes), parts=consecutive(len(train) - HELD_OUT, HELD_OUT, len(test)))
