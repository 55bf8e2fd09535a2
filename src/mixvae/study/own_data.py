"""This file makes a catalogue entry of a user's own data, which a config names by a path."""

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from mixvae.code import ROOT
from mixvae.errors import UserError, did_you_mean
from mixvae.files import canonical_json, write_json
from mixvae.study.base import Frozen, Sizes
from mixvae.study.catalogue import DatasetInfo, RawFile, ReaderOptions, Splits
from mixvae.study.explain import explain

FORMATS = {".npz": "npz", ".h5ad": "h5ad"}
SOURCES_VARIABLE = "MIXVAE_OWN_DATA"
"""Environment variable with the paths of own data by name. If a rule had a path as parameter, moving the file
would train its runs again."""
BINARISATION = "dynamic for training, fixed (numpy seed 777) for validation and test"
CACHE_VERSION = 1
"""Raise it when a reader of own data is changed so that it finds other facts in the same file."""


class OwnData(Frozen):
    """The identity of a user's own data in a run's spec: their bytes and how they are read, but not where they lie."""

    sha256: str
    format: Literal["npz", "h5ad"]
    keys: dict[str, str] = Field({})
    label: str | None = None
    genes: int | None = None


class OwnFile(ReaderOptions):
    """A user's own file, as `dataset` in a config describes it.

    genes: For .h5ad, how many genes are kept: those most variable among the training cells.
    """

    path: Annotated[str, Field(pattern=r"\.(npz|h5ad)$")]
    genes: Annotated[int, Field(gt=0)] | None = None


class Facts(Frozen):
    """The facts that a look at a user's own file finds out."""

    sha256: str
    kind: Literal["grey_image", "colour_image", "counts"]
    shape: Sizes
    classes: int
    splits: Splits


def names_a_file(value: Any) -> bool:
    """Return whether `dataset: value` in a config names a user's own file, and not an entry of the catalogue."""
    return isinstance(value, dict) or (isinstance(value, str) and value.endswith(tuple(FORMATS)))


def resolve(value: str | dict[str, Any], mirror: str | None, cache: Path) -> tuple[str, OwnData, DatasetInfo]:
    """Return the name, the identity and the catalogue entry of the file that a config's `dataset` names.

    The file is read and checked as a whole, unless `cache` has an entry for its path, size and time of change.

    Arguments:
        value: A path, or a mapping with the keys of OwnFile; a relative path starts in the working directory or in `mirror`.
        mirror: The study's data mirror; a URL is ignored, since own data are local files.
        cache: A JSON file, which is made if it is absent.

    Raises UserError with one line on the first thing that is wrong.
    """
    own = _parse(value)
    path = find_file(own.path, mirror, FORMATS)
    extension = FORMATS[path.suffix]
    options = ReaderOptions(keys=own.keys, label=own.label)
    unlabelled = "label" in own.model_fields_set and own.label is None
    facts = _facts(path, options, unlabelled, own.genes, cache)
    identity = OwnData(sha256=facts.sha256, format=extension, keys=own.keys, label=own.label, genes=own.genes)
    digest = hashlib.sha256(canonical_json(identity.model_dump(mode="json")).encode()).hexdigest()[:8]
    stem = re.sub(r"[^A-Za-z0-9_]+", "_", path.stem).strip("_")[:40] or "data"
    info = DatasetInfo(
        title=f"{path.name}, supplied by the user",
        kind=facts.kind,
        shape=facts.shape if own.genes is None else (own.genes,),
        levels=255 if extension == "npz" else None,
        classes=facts.classes,
        genes=own.genes,
        binarisation=BINARISATION if facts.kind == "grey_image" else None,
        splits=facts.splits,
        files={f"data{path.suffix}": RawFile(sha256=facts.sha256, sources=[str(path)])},
        reader=f"own_{extension}",
        options=options,
        licence="supplied by the user",
        citation="supplied by the user",
    )
    return f"{stem}-{digest}", identity, info


def source_of(info: DatasetInfo) -> str:
    """Return the path of a user's own file."""
    (file,) = info.files.values()
    return file.sources[0]


def without_source(info: DatasetInfo) -> str:
    """Return the entry of own data as canonical JSON without the file's path."""
    return canonical_json(_replace_sources(info, []).model_dump(mode="json", exclude_defaults=True))


def with_source(info: DatasetInfo, path: str | None) -> DatasetInfo:
    """Return the entry of own data with its path put back, or unchanged if the path is None."""
    return info if path is None else _replace_sources(info, [path])


def _replace_sources(info: DatasetInfo, sources: list[str]) -> DatasetInfo:
    ((name, file),) = info.files.items()
    return info.model_copy(update={"files": {name: RawFile(sha256=file.sha256, sources=sources)}})


def _parse(value: str | dict[str, Any]) -> OwnFile:
    try:
        own = OwnFile.model_validate({"path": value} if isinstance(value, str) else dict(value))
    except ValidationError as error:
        raise UserError(explain(error, [OwnFile])) from None
    for key in ("label", "genes") if own.path.endswith(".npz") else ("keys",):
        if key in own.model_fields_set:
            raise UserError(f"{own.path}: {key} does not belong to a {Path(own.path).suffix} file; remove it")
    return own


def find_file(name: str, mirror: str | None, endings: Iterable[str]) -> Path:
    """Return the absolute path of a user's own file: a relative one starts in the working directory or in the mirror.

    Raises UserError with the nearest file that has one of the endings, where there is none.
    """
    places = [Path.cwd(), *([Path(mirror)] if mirror and "://" not in mirror else [])]
    candidates = [(place / Path(name).expanduser()).absolute() for place in places]
    if found := next(filter(Path.is_file, candidates), None):
        return found
    beside = {
        file.name for path in candidates if path.parent.is_dir() for file in path.parent.glob("*") if file.suffix in endings
    }
    looked = " or ".join(dict.fromkeys(str(path) for path in candidates))
    hint = did_you_mean(Path(name).name, sorted(beside)) if 0 < len(beside) <= 20 else ""
    hint = hint or "; correct the path, or set data_mirror or MIXVAE_DATA to the folder that it starts from"
    raise UserError(f"{name}: no such file, looked for {looked}{hint}")


def _facts(path: Path, options: ReaderOptions, unlabelled: bool, genes: int | None, cache: Path) -> Facts:
    """Return the facts about a file, from `cache` if the file has not changed since."""
    status = path.stat()
    key = canonical_json([str(path), options.model_dump(mode="json"), unlabelled, genes])
    state = [CACHE_VERSION, status.st_size, status.st_mtime_ns]
    entry = read_cache(cache).get(key)
    if isinstance(entry, dict) and entry.get("state") == state:
        with contextlib.suppress(ValidationError):
            return Facts.model_validate(entry.get("facts"))
    facts = _look(path, options, unlabelled, genes)
    # jobs that start together may overwrite each other's entries; a lost entry is only made again
    with contextlib.suppress(OSError):
        write_json(cache, read_cache(cache) | {key: {"state": state, "facts": facts.model_dump(mode="json")}})
    return facts


def _look(path: Path, options: ReaderOptions, unlabelled: bool, genes: int | None) -> Facts:
    """Read and check a file in another process, since readers need numpy or anndata, which this room must not import."""
    command = [sys.executable, ROOT / "scripts/look.py", path, f"--keys={canonical_json(options.keys)}"]
    command += [f"--label={options.label}"] * (options.label is not None) + ["--unlabelled"] * unlabelled
    command += [f"--genes={genes}"] * (genes is not None)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if found.returncode == 0:
        return Facts.model_validate_json(found.stdout)
    last = (found.stderr.splitlines() or [f"its reader ended with exit code {found.returncode}"])[-1]
    raise UserError(last.removeprefix("error: ") if last.startswith("error: ") else f"{path}: cannot be read: {last}")


def read_cache(cache: Path) -> dict[str, Any]:
    """Return the cache's content; {} if it is absent or damaged."""
    try:
        content = json.loads(cache.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
