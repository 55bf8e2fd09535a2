"""This file fetches raw files from a mirror, a python package or the internet, and keeps only those with the right digest."""

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
from mixvae.progress import say
from mixvae.study import DatasetInfo
from mixvae.study.catalogue import RawFile

CHUNK = 1 << 20
TIMEOUT = 60


def fetch(name: str, info: DatasetInfo, folder: Path, mirror: str | None) -> dict[str, dict[str, str]]:
    """Put every raw file of data set `name` into `folder` and verify it; return for each file its sha256 and its source.

    An existing file with the right digest is left alone. One without a published digest is fetched every time, since nothing
    can tell whether it is right. `mirror` is a folder or URL that holds <name>/<file> and is tried before the official sources.
    Raises UserError when a file cannot be fetched or has the wrong checksum, but only after all other files have been tried, so
    that they need not be fetched again.
    """
    if mirror and "://" not in mirror and not Path(mirror).is_dir():
        raise UserError(f"data_mirror: {mirror}: no such folder; correct data_mirror in the config or MIXVAE_DATA, or unset it")
    folder.mkdir(parents=True, exist_ok=True)
    found, problems = {}, []
    for file, expected in info.files.items():
        target = folder / file
        # a user's own file has one source, its path
        sources = ([f"{mirror.rstrip('/')}/{name}/{file}"] if mirror and not info.reader else []) + expected.sources
        if target.exists() and matches(target, expected):
            found[file] = {"sha256": sha256(target), "source": "already here"}
            continue
        target.unlink(missing_ok=True)
        failures = []
        for source in sources:
            try:
                found[file] = {"sha256": _copy(source, target, expected.digest), "source": source}
                break
            except (OSError, ValueError) as error:
                failures.append(f"{source}: {error}")
        else:
            problems.append(f"{file}: {'; '.join(failures) or 'no source is known'}")
            continue
        if failures:
            say(f"warning: {name}/{file}: used {source} because {'; '.join(failures)}")
        if not expected.digest:
            say(
                f"warning: {name}/{file}: no digest is published, so nothing vouches for this file; its sha256 is "
                f"{found[file]['sha256']}; pin it as files: {file}: sha256 of {name} in config/datasets.yaml"
            )
    if problems:
        hint = f"put the files into a folder DIR/{name}/ and set data_mirror or MIXVAE_DATA to DIR"
        hint = "is the file still where the config says?" if info.reader else hint
        raise UserError(f"{name}: {len(problems)} of {len(info.files)} files could not be had: {' | '.join(problems)}; {hint}")
    return found


def matches(path: Path, expected: RawFile) -> bool:
    """Return whether a file has the digest that it must have; False if no digest is known."""
    if not expected.digest:
        return False
    algorithm, value = expected.digest
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest() == value


def _copy(source: str, target: Path, expected: tuple[str, str] | None) -> str:
    """Stream `source` to `target` and return its sha256; raises OSError if unreadable, ValueError if the checksum is wrong."""
    algorithm, value = expected or ("sha256", None)
    sha, check = hashlib.sha256(), hashlib.new(algorithm)
    with _open(source) as (stream, size), atomic(target) as temporary, temporary.open("wb") as file:
        quiet = not sys.stderr.isatty() or not size or size < CHUNK
        with tqdm(total=size, unit="B", unit_scale=True, desc=target.name, disable=quiet) as bar:
            while block := stream.read(CHUNK):
                sha.update(block)
                check.update(block)
                file.write(block)
                bar.update(len(block))
        if value and check.hexdigest() != value:
            raise ValueError(f"corrupted, {algorithm} expected {value} found {check.hexdigest()}")
        if size is not None and file.tell() != size:
            raise ValueError(f"cut short, {size} bytes expected {file.tell()} found")
    return sha.hexdigest()


@contextmanager
def _open(source: str) -> Iterator[tuple[BinaryIO, int | None]]:
    scheme, _, rest = source.partition("://")
    if not rest or scheme == "package":
        path = Path(source)
        if rest:
            package, _, inside = rest.partition("/")
            spec = find_spec(package)
            if spec is None or spec.origin is None:
                raise FileNotFoundError(f"package {package} is not installed")
            path = Path(spec.origin).parent / inside
        with path.open("rb") as stream:
            yield stream, os.fstat(stream.fileno()).st_size
    else:
        request = urllib.request.Request(source, headers={"User-Agent": "mixvae"})
        with urllib.request.urlopen(request, timeout=TIMEOUT) as stream:
            length = stream.headers.get("Content-Length")
            yield stream, int(length) if length else None
