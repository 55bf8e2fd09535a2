"""This file checks prepared data: the raw files must be those published or named by a run, and give the same arrays."""

import json
from pathlib import Path

import numpy as np

from mixvae.data import load_raw
from mixvae.data.fetch import matches
from mixvae.data.prepared import load, prepare
from mixvae.errors import UserError
from mixvae.files import canonical_json, read_json
from mixvae.progress import say
from mixvae.study import DatasetInfo, Run, catalogue
from mixvae.study.catalogue import RawFile


def verify_origin(folder: Path, spec: Run) -> None:
    """Check that the raw files in `folder` have the digests published or in the spec, and that preparing them gives its data.

    Raises UserError that names the wrong file or array.
    """
    info = info_of(folder, spec)
    for name, published in info.files.items():
        path, expected = folder / "raw" / name, RawFile(sha256=spec.data.sha256) if spec.data else published
        if not path.is_file():
            raise UserError(f"{path}: no such file, so the data cannot be traced to it; download it again")
        if expected.digest is None:
            say(f"{path}: no checksum is published, so nothing vouches for it")
        elif not matches(path, expected):
            raise UserError(
                f"{path}: not the {'file that the run names' if spec.data else 'published file'}; download it again"
            )
    wrong = f"not what the raw files give; delete {folder / 'data.npz'} and run again"
    there, again = load(folder), prepare(spec.dataset, info, load_raw(spec.dataset, folder / "raw", info))
    for name in sorted(there.arrays.keys() | again.arrays.keys()):
        one, other = there.arrays.get(name), again.arrays.get(name)
        if one is None or other is None or one.dtype != other.dtype or not np.array_equal(one, other):
            raise UserError(f"{folder / 'data.npz'}: {name} is {wrong}")
    # through JSON, which makes lists of tuples
    if {**there.meta, "sha256": None} != {**json.loads(canonical_json(again.meta)), "sha256": None}:
        raise UserError(f"{folder / 'dataset.json'}: it is {wrong}")


def info_of(folder: Path, spec: Run) -> DatasetInfo:
    """Return the entry of the data set of a run whose raw files lie in `folder`; raises UserError where nothing gives it."""
    if spec.data is None:
        if spec.dataset not in catalogue():
            raise UserError(f"{spec.dataset}: not in config/datasets.yaml, so nothing says what its data should be")
        return catalogue()[spec.dataset]
    try:
        info = DatasetInfo.model_validate_json(canonical_json(read_json(folder / "raw.json")["info"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder / 'raw.json'}: not what the download rule writes; download the data again") from None
    if (info.options.keys, info.options.label, info.genes) != (spec.data.keys, spec.data.label, spec.data.genes):
        raise UserError(f"{folder / 'raw.json'}: read in another way than the run says; download the data again")
    return info
