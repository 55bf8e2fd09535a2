"""Lets one head at a time work in a folder; the head is the Snakemake process that hands out a study's jobs."""

import fcntl
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from mixvae.errors import UserError

RECORD = Path(".snakemake/head.json")
INHERITED = "MIXVAE_HEAD"
"""The environment variable of a Snakemake whose parent has already become the head for it."""

_held: list[IO[str]] = []


def take() -> int | None:
    """Become the head, until this process and whoever inherits the lock have ended; return the lock's file descriptor.

    The kernel gives the lock back when the head is killed, and head.json, emptied at a clean end, then says who was killed.
    Raises UserError if there is another head, or if an earlier one may still work, which cannot be seen from here.
    """
    if INHERITED in os.environ:
        return None
    RECORD.parent.mkdir(exist_ok=True)
    file = RECORD.open("a+")
    file.seek(0)
    text = file.read()
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        seen = _read(text).get("host") == platform.node()
    except BlockingIOError:
        raise UserError(f"another Snakemake works in this folder, {_describe(text)}; wait for it or stop it") from None
    except OSError:
        seen = False  # a file system without locks
    if text and not seen:
        raise UserError(
            f"{RECORD}: {_describe(text)} did not end by itself, or still works, which cannot be seen from {platform.node()}; "
            f"look there, and if it is gone: rm {RECORD}"
        )
    _held.append(file)
    name(os.getpid())
    return file.fileno()


def name(pid: int) -> None:
    """Write the host, the process id and the time into head.json."""
    record = {"host": platform.node(), "pid": pid, "start": datetime.now(UTC).isoformat(timespec="seconds")}
    for file in _held:
        file.truncate(0)
        json.dump(record, file)
        file.flush()


def leave() -> None:
    """Empty head.json, which says that the head has ended by itself."""
    for file in _held:
        file.truncate(0)


def _read(text: str) -> dict[str, str]:
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):  # being written, or cut off
        return {}


def _describe(text: str) -> str:
    found = _read(text)
    return f"process {found.get('pid', '?')} on {found.get('host', '?')}, since {found.get('start', '?')}"
