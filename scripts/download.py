"""Rule download: put a data set's raw files into place, verified."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mixvae import cli
from mixvae.data.fetch import fetch
from mixvae.files import write_json
from mixvae.provenance import record
from mixvae.spec import catalogue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, choices=catalogue())
    parser.add_argument("--folder", required=True, type=Path, help="results/datasets/<dataset>")
    arguments = parser.parse_args()
    folder, info = arguments.folder, catalogue()[arguments.dataset]
    raw = folder / "raw"
    files = [raw / name for name in info.files]
    with record("download", folder / "provenance/download.json", inputs=[], outputs=[*files, folder / "raw.json"]) as facts:
        facts["sources"] = fetch(arguments.dataset, info, raw, os.environ.get("MIXVAE_DATA"))
        write_json(folder / "raw.json", {name: file.sha256 for name, file in info.files.items()})


cli.run(main)
