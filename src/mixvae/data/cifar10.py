"""This file reads CIFAR-10 by torchvision; the last 10,000 training images are the validation part."""

import tempfile
from pathlib import Path

from mixvae.data.archives import unpack
from mixvae.data.arrays import Arrays
from mixvae.data.torchvision_import import arrays_of, datasets


def load(raw: Path) -> Arrays:
    """Read the archive of pickled batches.

    Unpickling can run any code that is in a file. It is safe here because torchvision first compares every batch's md5
    with the official one.
    """
    build = datasets().CIFAR10
    with tempfile.TemporaryDirectory() as root:
        unpack(raw / build.filename, Path(root))
        return arrays_of(build, root)
