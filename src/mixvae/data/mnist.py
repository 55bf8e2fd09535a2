"""This file reads MNIST by torchvision; the last 10,000 training digits are the validation part."""

import tempfile
from pathlib import Path

from mixvae.data.arrays import Arrays
from mixvae.data.torchvision_import import arrays_of, datasets


def load(raw: Path) -> Arrays:
    """Read the four idx files."""
    return load_idx("MNIST", raw)


def load_idx(dataset: str, raw: Path) -> Arrays:
    """Read the data set of torchvision's class `dataset`, which has MNIST's file format, from verified archives."""
    with tempfile.TemporaryDirectory() as root:
        unpacked = Path(root, dataset, "raw")
        unpacked.mkdir(parents=True)
        for archive in raw.glob("*.gz"):
            datasets().utils.extract_archive(str(archive), str(unpacked))
        return arrays_of(getattr(datasets(), dataset), root)
