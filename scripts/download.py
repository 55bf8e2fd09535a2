"""Rule download: put a data set's raw files into place, verified."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from pydantic import ValidationError

from mixvae import cli
from mixvae.data.fetch import fetch
from mixvae.errors import UserError, did_you_mean
from mixvae.files import write_json
from mixvae.provenance import record
from mixvae.study import DatasetInfo, catalogue
from mixvae.study.own_data import SOURCES_VARIABLE, with_source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--folder", required=True, type=Path, help="results/datasets/<dataset>")
    parser.add_argument("--info", default="", help="a catalogue entry as JSON, for data that the catalogue does not list")
    arguments = parser.parse_args()
    name, folder, info = arguments.dataset, arguments.folder, read_info(arguments.dataset, arguments.info)
    raw = folder / "raw"
    files = [raw / name for name in info.files]
    with record("download", folder / "provenance/download.json", inputs=[], outputs=[*files, folder / "raw.json"]) as facts:
        found = facts["sources"] = fetch(name, info, raw, os.environ.get("MIXVAE_DATA"))
        write_json(folder / "raw.json", {"name": name, "info": info.model_dump(mode="json"), "files": found})


def read_info(name: str, text: str) -> DatasetInfo:
    if not text:
        if name not in catalogue():
            raise UserError(f"--dataset: unknown data set {name!r}{did_you_mean(name, catalogue())}")
        return catalogue()[name]
    try:
        info = DatasetInfo.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"--info: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return with_source(info, json.loads(os.environ.get(SOURCES_VARIABLE, "{}")).get(name))


cli.run(main)
