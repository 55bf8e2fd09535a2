"""The state of an unfinished training is kept, so that it goes on with the same bits after a kill."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mixvae.files import atomic
from mixvae.interruption import Interrupted, StopRequest
from mixvae.progress import say

FOLDER = "checkpoints"
"""In a run's folder. No rule declares what lies here: Snakemake deletes the declared files of a job that failed."""


class State(NamedTuple):
    """Everything a training loop needs to go on: tensors by name, and what fits into JSON."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class Checkpoint:
    """The last two states of one training, in files that are whole or not read.

    Two, since a file can be damaged by what also killed the job: then the one before is used. Files are named after a digest of
    what the result depends on, so that a state of other code, data or versions is never continued.

    Arguments:
        run: The run's folder.
        identity: A digest of what the result depends on.
        seconds: How often `due` asks for saving.
        stop: A signal in it makes `due` ask at once.
        attempt: Who trains: host, device, job. `attempts` lists those of all processes that the training took.
    """

    def __init__(self, run: Path, identity: str, seconds: float, stop: StopRequest, attempt: Mapping[str, Any]) -> None:
        self.folder = run / FOLDER
        self.current, self.previous, self.next = (
            self.folder / f"{identity}{end}.safetensors" for end in ("", ".previous", ".next")
        )
        self.seconds, self.stop = seconds, stop
        self.again = time.monotonic() + seconds
        self.attempts = [dict(attempt)]

    def due(self) -> bool:
        """Return whether the state should be saved now."""
        return self.stop.signal is not None or time.monotonic() >= self.again

    def save(self, state: State, where: str) -> None:
        """Save `state`, reached at `where`; raises Interrupted when a signal was the reason.

        A full disk costs the checkpoint and not the training, which goes on with a warning.
        """
        saved = True
        try:
            self._write(state)
        except OSError as error:
            saved = False
            say(f"warning: {self.current}: no checkpoint could be written ({error.strerror})")
        self.again = time.monotonic() + self.seconds
        if self.stop.signal is not None:
            raise Interrupted(where, self.stop.signal, saved)

    def _write(self, state: State) -> None:
        facts = json.dumps(state.facts | {"attempts": self.attempts})
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
        metadata = {"facts": facts, "sha256": _digest(tensors, facts)}
        with atomic(self.next) as temporary:
            temporary.write_bytes(save(tensors, metadata))
        # it is whole and on the disk; a kill between these two leaves the state before
        if self.current.exists():
            self.current.replace(self.previous)
        self.next.replace(self.current)

    def load(self) -> State | None:
        """Return the last state that is whole, or None; what is damaged is said and removed."""
        damaged = False
        for path in (self.current, self.previous):
            if not path.exists():
                continue
            try:
                state = _read(path)
            except (OSError, SafetensorError, ValueError, KeyError) as error:
                say(f"warning: {path}: damaged ({error}); not used")
                path.unlink(missing_ok=True)  # or the next state would push the one before out for it
                damaged = True
                continue
            before = state.facts.pop("attempts")
            self.attempts = [
                *before,
                self.attempts[-1] | {"from": {name: state.facts.get(name) for name in ("epoch", "batch")}},
            ]
            return state
        others = sorted({*self.folder.glob("[!.]*.safetensors")} - {self.current, self.previous, self.next})
        if damaged:
            say("no state is left; training starts anew")
        elif others:
            say(f"{others[0]}: of other code, data, versions or device; training starts anew")
        return None


def discard(run: Path) -> None:
    """Remove all states of a run: its training is finished."""
    shutil.rmtree(run / FOLDER, ignore_errors=True)


@contextlib.contextmanager
def alone(run: Path, stop: StopRequest) -> Iterator[bool]:
    """Wait until no other process trains `run`, as one left by a killed Snakemake may; yields whether there was one.

    File systems without locks give none, and two processes then do the same work; their files are whole either way.
    Raises Interrupted when a signal comes while waiting.
    """
    folder, waited = run / FOLDER, False
    # the kernel's own lock or none: a file that stands for a lock would outlast a process that is killed
    lock = FileLock(folder / ".lock", fallback_to_soft=False)
    while not _may_go_on(lock, folder):
        if not waited:
            say("another process trains this run; waiting for its end")
            waited = True
        if stop.signal is not None:
            raise Interrupted("the wait for another process", stop.signal, saved=True)
        time.sleep(1)
    try:
        for left in folder.glob(".*.safetensors"):  # by a kill in the middle of writing
            left.unlink(missing_ok=True)
        yield waited
    finally:
        lock.release()


def _may_go_on(lock: FileLock, folder: Path) -> bool:
    """Take the lock, and return False when another process has it or has just removed its folder, its training being finished."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except (Timeout, FileNotFoundError, FileExistsError):
        if folder.is_file():
            raise
        return False
    except OSError as error:
        if (
            error.filename is not None
        ):  # the file could not be opened; an error without a name says that there are no locks here
            raise
    return True


def _digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else b"")
    return digest.hexdigest()


def _read(path: Path) -> State:
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        # clones, since a mapped file's tensors are not aligned as those of a training that was never interrupted
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    if _digest(tensors, metadata["facts"]) != metadata["sha256"]:
        raise ValueError("its content is not what was saved")
    return State(tensors, json.loads(metadata["facts"]))
