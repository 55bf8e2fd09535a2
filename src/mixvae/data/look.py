"""This file looks at a user's own file before anything runs, and finds its checksum, shape and classes, or what is wrong."""

from pathlib import Path

from mixvae.data import own_h5ad, own_npz
from mixvae.errors import UserError
from mixvae.files import sha256
from mixvae.study.catalogue import ReaderOptions, Splits
from mixvae.study.own_data import Facts

READERS = {".npz": own_npz, ".h5ad": own_h5ad}


def look(path: Path, options: ReaderOptions, unlabelled: bool, genes: int | None) -> Facts:
    """Return the facts about a file. The study's jobs use the same reader, so they can read a file that passes here.

    An .h5ad must have a column of labels unless the config says that it is `unlabelled`; `genes` is how many of its genes are
    kept, None for all. Raises UserError with one line that names the file and what is wrong with it.
    """
    reader, counts = READERS[path.suffix], path.suffix == ".h5ad"
    if counts and options.label is None and not unlabelled:
        raise UserError(f"{path}: which column of obs holds the labels? {own_h5ad.candidates(path)}")
    digest, arrays = sha256(path), reader.read(path, options)
    if genes is not None and genes > arrays.x.shape[1]:
        raise UserError(f"{path}: genes: {genes} to keep, but the file has {arrays.x.shape[1]}; lower or remove genes")
    return Facts(
        sha256=digest,
        kind="counts" if counts else {1: "grey_image", 3: "colour_image"}[arrays.x.shape[1]],
        shape=arrays.x.shape[1:],
        classes=len(arrays.label_names),
        splits=Splits(**{part: len(indices) for part, indices in arrays.parts.items()}),
    )
