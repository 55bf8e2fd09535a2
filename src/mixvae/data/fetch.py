"""Get the raw files of a data set: from a mirror, an installed package or the internet, and only if their sha256 is right."""

from __future__ import annotations

import hashlib
import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from mixvae.errors import UserError
from mixvae.files import atomic, sha256
from mixvae.spec import DatasetInfo

CHUNK = 1 << 20
TIMEOUT = 60


def fetch(name: str, info: DatasetInfo, folder: Path, mirror: str | None) -> dict[str, dict[str, str]]:
    """Put every raw file of data set `name` into `folder`, verified; files already there and right are left alone.

    Arguments:
        mirror: A folder or URL that holds <name>/<file>, tried before the official sources; None for none.

    Returns, by file, its sha256 and the source it came from. Raises UserError when a file cannot be had or its checksum is
    wrong, after the other files have been tried, so that one bad file costs no good one.
    """
    if mirror and "://" not in mirror and not Path(mirror).is_dir():
        raise UserError(f"data_mirror: {mirror}: no such folder; correct data_mirror in the config or MIXVAE_DATA, or unset it")
    folder.mkdir(parents=True, exist_ok=True)
    found, problems = {}, []
    for file, expected in info.files.items():
        target = folder / file
        sources = ([f"{mirror.rstrip('/')}/{name}/{file}"] if mirror else []) + expected.sources
        if target.exists() and sha256(target) == expected.sha256:
            found[file] = {"sha256": expected.sha256, "source": "already here"}
            continue
        target.unlink(missing_ok=True)
        failures = []
        for source in sources:
            try:
                _copy(source, target, expected.sha256)
            except (OSError, ValueError) as error:
                failures.append(f"{source}: {error}")
            else:
                found[file] = {"sha256": expected.sha256, "source": source}
                break
        else:
            problems.append(f"{file}: {'; '.join(failures)}")
        if failures and file in found:
            print(f"warning: {name}/{file}: used {found[file]['source']} because {'; '.join(failures)}", file=sys.stderr)
    if problems:
        hint = "put the files into a folder DIR/" + name + "/ and set data_mirror or MIXVAE_DATA to DIR"
        raise UserError(f"{name}: {len(problems)} of {len(info.files)} files could not be had: {' | '.join(problems)}; {hint}")
    return found


def _copy(source: str, target: Path, expected: str) -> None:
    """Stream `source` to `target`; raises OSError when it cannot be read, ValueError on a wrong checksum."""
    digest = hashlib.sha256()
    with _open(source) as (stream, size), atomic(target) as temporary, temporary.open("wb") as file:
        quiet = not sys.stderr.isatty() or not size or size < CHUNK
        with tqdm(total=size, unit="B", unit_scale=True, desc=target.name, disable=quiet) as bar:
            while block := stream.read(CHUNK):
                digest.update(block)
                file.write(block)
                bar.update(len(block))
        if digest.hexdigest() != expected:
            raise ValueError(f"corrupted, sha256 expected {expected} found {digest.hexdigest()}")


@contextmanager
def _open(source: str) -> Iterator[tuple[BinaryIO, int | None]]:
    scheme, _, rest = source.partition("://")
    if not rest or scheme == "package":
        path = _inside_package(rest) if rest else Path(source)
        with path.open("rb") as stream:
            yield stream, os.fstat(stream.fileno()).st_size
    else:
        request = urllib.request.Request(source, headers={"User-Agent": "mixvae"})
        with urllib.request.urlopen(request, timeout=TIMEOUT) as stream:
            length = stream.headers.get("Content-Length")
            yield stream, int(length) if length else None


def _inside_package(path: str) -> Path:
    package, _, inside = path.partition("/")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"package {package} is not installed")
    return Path(spec.origin).parent / inside
