"""This file reads CIFAR-10 by torchvision; the last 10,000 training images are the validation part."""

import tempfile
from pathlib import Path

import numpy as np

from mixvae.data.archives import unpack
from mixvae.data.arrays import Arrays
from mixvae.data.splits import consecutive
from mixvae.data.torchvision_import import datasets

HELD_OUT = 10_000


def load(raw: Path) -> Arrays:
    """Read the archive of pickled batches.

    Unpickling can run any code that is in a file. It is safe here because torchvision first compares every batch's md5
    with the official one.
    """
    build = datasets().CIFAR10
    with tempfile.TemporaryDirectory() as root:
        unpack(raw / build.filename, Path(root))
        train, test = build(root, train=True), build(root, train=False)
    x = np.concatenate([train.data, test.data]).transpose(0, 3, 1, 2)
    y = np.array([*train.targets, *test.targets], dtype=np.int64)
    return Arrays(x, y, list(train.classes), parts=consecutive(len(train) - HELD_OUT, HELD_OUT, len(test)))
