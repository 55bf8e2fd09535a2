"""Rule download fetches and verifies a data set's raw files, and rule prepare makes them into the arrays that runs use."""

import json
import os
from pathlib import Path

from pydantic import ValidationError

from mixvae.data import load_raw
from mixvae.data.fetch import fetch
from mixvae.data.prepared import prepare, save
from mixvae.errors import UserError, did_you_mean
from mixvae.files import canonical_json, read_json, require_sha256, write_json
from mixvae.provenance import record
from mixvae.study import DatasetInfo, catalogue
from mixvae.study.jobs import DATA_FILES
from mixvae.study.own_data import SOURCES_VARIABLE, with_source


def download_dataset(name: str, folder: Path, described: str) -> None:
    """Put the raw files of a data set into raw/ in its folder results/datasets/<dataset>, and list them in raw.json.

    A data set that the catalogue does not list is `described` by an entry as JSON. Raises UserError for an unknown data set, an
    entry that is not valid, or a file that no source has.
    """
    info = _described_info(name, described)
    outputs = [*(folder / "raw" / file for file in info.files), folder / "raw.json"]
    with record("download", folder / "provenance/download.json", inputs=[], outputs=outputs) as facts:
        found = facts["sources"] = fetch(name, info, folder / "raw", os.environ.get("MIXVAE_DATA"))
        write_json(folder / "raw.json", {"name": name, "info": info.model_dump(mode="json"), "files": found})


def prepare_dataset(name: str, folder: Path) -> None:
    """Split, check and binarise the data set whose raw files lie in results/datasets/<dataset>.

    Raises UserError when the raw files have changed since the download, or do not hold what the catalogue says.
    """
    info = _verified_info(name, folder)
    inputs = [folder / "raw.json", *(folder / "raw" / file for file in info.files)]
    outputs = [folder / file for file in DATA_FILES["prepare"]]
    with record("prepare", folder / "provenance/prepare.json", inputs=inputs, outputs=outputs):
        save(prepare(name, info, load_raw(name, folder / "raw", info)), folder)


def _described_info(name: str, described: str) -> DatasetInfo:
    if not described:
        if name not in catalogue():
            raise UserError(f"--dataset: unknown data set {name!r}{did_you_mean(name, catalogue())}")
        return catalogue()[name]
    try:
        info = DatasetInfo.model_validate_json(described)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"--info: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return with_source(info, json.loads(os.environ.get(SOURCES_VARIABLE, "{}")).get(name))


def _verified_info(dataset: str, folder: Path) -> DatasetInfo:
    """Return the entry of the data set in raw.json. Raises UserError when a raw file is not the one that was downloaded."""
    path, again = folder / "raw.json", f"download it again: python scripts/download.py --dataset {dataset} --folder {folder}"
    try:
        facts = read_json(path)
        name, files, info = facts["name"], facts["files"], DatasetInfo.model_validate_json(canonical_json(facts["info"]))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {again}") from None
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not what the download rule writes; {again}") from None
    if name != dataset:
        raise UserError(f"{path}: holds data set {name}, not {dataset}; correct --dataset or --folder")
    for file in info.files:
        require_sha256(folder / "raw" / file, files[file]["sha256"], "", again)
    return info
