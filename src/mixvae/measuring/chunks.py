"""Measures points chunk by chunk, and keeps what is done in a file, so that a measurement that was killed goes on from there."""

import contextlib
import hashlib
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixvae.files import atomic, canonical_json
from mixvae.progress import Progress, say
from mixvae.seeds import derive

FOLDER = "unfinished"
"""A folder beside the results. No rule declares its files, since Snakemake deletes the declared files of a job that failed."""
SECONDS = 20.0
"""The time from one save to the next."""
IDENTITY = ("rule", "spec", "settings", "code_sha256", "packages", "device")
"""The facts of a record on which numbers depend, beside the contents of what was read."""

Arrays = dict[str, np.ndarray]


class Streams:
    """Normal numbers for some points, each from a stream of its own that depends on seed, axis and the point's index alone."""

    def __init__(self, seed: int, axis: str, indices: Tensor, device: torch.device) -> None:
        self.device = device
        self.streams = [torch.Generator(device).manual_seed(derive(seed, axis, index)) for index in indices.tolist()]

    def __call__(self, C: int, n: int) -> Tensor:
        """Return the next normal numbers of every point, (C, B, n)."""
        return torch.stack([torch.randn(C, n, generator=stream, device=self.device) for stream in self.streams], dim=1)


class Unfinished:
    """The finished chunks of a measurement, in files named by what they measure.

    Arguments:
        folder: The folder of the files.
        identity: A digest of all that the numbers depend on, so that those of other code, data or settings are never continued.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder, self.identity = folder, identity

    def load(self, name: str) -> Arrays:
        """Return the arrays that were saved, {} if there are none; a damaged file is not used."""
        path = self._path(name)
        try:
            with np.load(path, allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            say(f"warning: {path}: damaged ({error}); measured anew")
            return {}

    def save(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Save arrays; if they cannot be written, as on a full disk, the measurement goes on with a warning."""
        try:
            with atomic(self._path(name)) as temporary:
                np.savez(temporary, **arrays)
        except OSError as error:
            say(f"warning: {self._path(name)}: nothing could be kept ({error.strerror})")

    def _path(self, name: str) -> Path:
        return self.folder / f"{self.identity}-{name}.npz"


@contextlib.contextmanager
def unfinished(folder: Path, facts: Mapping[str, Any]) -> Iterator[Unfinished]:
    """Yield the store of a measurement, which is removed once the body of the `with` has ended without an error.

    Arguments:
        folder: The folder of the results.
        facts: Those of the measurement's record.
    """
    known = [{name: facts[name] for name in IDENTITY}, sorted(facts["inputs"].values())]
    store = Unfinished(folder / FOLDER / facts["rule"], hashlib.sha256(canonical_json(known).encode()).hexdigest()[:16])
    yield store
    shutil.rmtree(store.folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        store.folder.parent.rmdir()


def by_chunks(
    name: str, points: int, size: int, compute: Callable[[slice], Arrays], store: Unfinished | None, summary: str = ""
) -> Arrays:
    """Return the arrays that `compute` gives for slices of at most `size` points, joined along the first axis.

    Arguments:
        name: What is measured, for the store and the log.
        store: Where finished chunks are kept; None to keep nothing.
        summary: What the last line of the log says.
    """
    kept = store.load(name) if store else {}
    done = len(next(iter(kept.values()))) if kept else 0
    parts = [kept] if kept else []
    if done:
        say(f"{name}: {done} of {points} points are done")
    progress = Progress(-(-points // size), f"{name} chunk", done // size)
    again = time.monotonic() + SECONDS
    for start in range(done, points, size):
        parts.append(compute(slice(start, min(start + size, points))))
        progress.step()
        if store and (time.monotonic() >= again or start + size >= points):
            parts = [_joined(parts)]
            store.save(name, parts[0])
            again = time.monotonic() + SECONDS
    progress.close(summary or f"{points} points")
    return _joined(parts)


def _joined(parts: list[Arrays]) -> Arrays:
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
