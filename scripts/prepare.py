"""Rule prepare: split, check and binarise a data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from pydantic import ValidationError

from mixvae import cli
from mixvae.data import load_raw
from mixvae.data.prepared import prepare, save
from mixvae.errors import UserError
from mixvae.files import canonical_json, read_json, sha256
from mixvae.provenance import record
from mixvae.study import DatasetInfo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--folder", required=True, type=Path, help="results/datasets/<dataset>, with raw.json and raw/ in it")
    arguments = parser.parse_args()
    folder = arguments.folder
    raw, info = folder / "raw", verified(arguments.dataset, folder)
    inputs = [folder / "raw.json", *(raw / name for name in info.files)]
    outputs = [folder / "data.npz", folder / "dataset.json"]
    with record("prepare", folder / "provenance/prepare.json", inputs=inputs, outputs=outputs):
        save(prepare(arguments.dataset, info, load_raw(arguments.dataset, raw, info)), folder)


def verified(dataset: str, folder: Path) -> DatasetInfo:
    """Return what raw.json says of the data set once every raw file is what was downloaded. Raises UserError."""
    path, again = folder / "raw.json", f"download it again: python scripts/download.py --dataset {dataset} --folder {folder}"
    try:
        facts = read_json(path)
        name, files, info = facts["name"], facts["files"], DatasetInfo.model_validate_json(canonical_json(facts["info"]))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {again}") from None
    except (KeyError, TypeError, ValueError, ValidationError):
        raise UserError(f"{path}: not what the download rule writes; {again}") from None
    if name != dataset:
        raise UserError(f"{path}: holds data set {name}, not {dataset}; correct --dataset or --folder")
    for file in info.files:
        found = sha256(folder / "raw" / file) if (folder / "raw" / file).is_file() else "no file"
        expected = files[file]["sha256"]
        if found != expected:
            raise UserError(f"{folder / 'raw' / file}: sha256 expected {expected} found {found}; {again}")
    return info


cli.run(main)
