"""This file writes files whole or not at all, computes their checksums, and reads and writes JSON."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mixvae.errors import UserError


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it replaces `path` on success and is removed on any error.

    It has the same suffix as `path`, since numpy and pandas choose the format by the suffix, or append one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes a file private; a result gets the permissions of any other file that the user writes
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256(path: str | Path) -> str:
    """Return the hexadecimal sha256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_sha256(path: Path, expected: str, what: str, remedy: str) -> None:
    """Raise UserError, with the words `what` and `remedy` around the digests, unless a file has the sha256 `expected`."""
    found = sha256(path) if path.is_file() else "no file"
    if found != expected:
        raise UserError(f"{path}: {what}sha256 expected {expected} found {found}; {remedy}")


def keep_only(folder: Path, stems: Iterable[str]) -> None:
    """Remove the files of a folder whose names without suffix are not among `stems`, since an earlier version left them."""
    stems = set(stems)
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.stem not in stems:
            path.unlink()


def canonical_json(value: Any) -> str:
    """Return `value` as JSON with sorted keys and no spaces. Raises ValueError for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as readable JSON with sorted keys, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Return the parsed content of a JSON file."""
    return json.loads(Path(path).read_text())
