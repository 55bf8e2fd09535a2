"""This file reads Fashion-MNIST by torchvision and splits it as MNIST is split."""

from pathlib import Path

from mixvae.data.arrays import Arrays
from mixvae.data.mnist import load_idx


def load(raw: Path) -> Arrays:
    """Read the four idx files."""
    return load_idx("FashionMNIST", raw)
