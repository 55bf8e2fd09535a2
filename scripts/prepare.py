"""Rule prepare: split, check and binarise a data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from mixvae import cli
from mixvae.data import load_raw
from mixvae.data.prepared import prepare, save
from mixvae.errors import UserError
from mixvae.files import sha256
from mixvae.provenance import record
from mixvae.spec import catalogue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, choices=catalogue())
    parser.add_argument("--folder", required=True, type=Path, help="results/datasets/<dataset>, with raw/ in it")
    arguments = parser.parse_args()
    folder, info = arguments.folder, catalogue()[arguments.dataset]
    raw = folder / "raw"
    for name, file in info.files.items():
        found = sha256(raw / name) if (raw / name).is_file() else "no file"
        if found != file.sha256:
            raise UserError(
                f"{raw / name}: sha256 expected {file.sha256} found {found}; fetch it again: python scripts/download.py --dataset {arguments.dataset} --folder {folder}"
            )
    inputs = [raw / name for name in info.files]
    outputs = [folder / "data.npz", folder / "dataset.json"]
    with record("prepare", folder / "provenance/prepare.json", inputs=inputs, outputs=outputs):
        save(prepare(arguments.dataset, info, load_raw(arguments.dataset, raw)), folder)


cli.run(main)
