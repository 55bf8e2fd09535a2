"""This file saves the state of an unfinished training, so that after a kill it goes on and gives the same bits."""

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
"""A folder in the run's folder. No rule declares its files, since Snakemake deletes the declared files of a job that failed."""


class State(NamedTuple):
    """The state that a training loop needs to go on: tensors by name, and facts that fit into JSON."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class Checkpoint:
    """The last two states of one training, in files that are read only if they are whole.

    There are two, since the event that kills a job may also damage the last file; the one before is then used. Files are named
    by a digest of all that the result depends on, so that a state of other code, data or versions is never continued.

    A save is due after some seconds, and at once when `stop` remembers a signal. `attempts` lists the host, device and job of
    all processes that took part, those of this process last.
    """

    def __init__(self, run: Path, identity: str, seconds: float, stop: StopRequest, attempt: Mapping[str, Any]) -> None:
        self.folder = run / FOLDER
        ends = ("", ".previous", ".next")
        self.current, self.previous, self.next = (self.folder / f"{identity}{end}.safetensors" for end in ends)
        self.seconds, self.stop = seconds, stop
        self.again = time.monotonic() + seconds
        self.attempts = [dict(attempt)]

    def due(self) -> bool:
        """Return whether the state should be saved now."""
        return self.stop.signal is not None or time.monotonic() >= self.again

    def save(self, state: State, where: str) -> None:
        """Save `state`, which was reached at `where`; raises Interrupted if a signal asks to stop.

        If the file cannot be written, as on a full disk, training goes on with a warning.
        """
        try:
            self._write(state)
            saved = True
        except OSError as error:
            say(f"warning: {self.current}: no checkpoint could be written ({error.strerror})")
            saved = False
        self.again = time.monotonic() + self.seconds
        if self.stop.signal is not None:
            raise Interrupted(where, self.stop.signal, saved)

    def _write(self, state: State) -> None:
        facts = json.dumps(state.facts | {"attempts": self.attempts})
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
        metadata = {"facts": facts, "sha256": _digest(tensors, facts)}
        with atomic(self.next) as temporary:
            temporary.write_bytes(save(tensors, metadata))
        # the new file is whole and on the disk; a kill between the next two moves leaves the state before it
        if self.current.exists():
            self.current.replace(self.previous)
        self.next.replace(self.current)

    def load(self) -> State | None:
        """Return the last state that is whole, or None; a damaged file is removed with a warning."""
        damaged = False
        for path in (self.current, self.previous):
            if not path.exists():
                continue
            try:
                state = _read(path)
            except (OSError, SafetensorError, ValueError, KeyError) as error:
                say(f"warning: {path}: damaged ({error}); not used")
                path.unlink(missing_ok=True)  # or the next save would keep it in place of the whole state before
                damaged = True
                continue
            here = {name: state.facts.get(name) for name in ("epoch", "batch")}
            self.attempts = [*state.facts.pop("attempts"), self.attempts[-1] | {"from": here}]
            return state
        others = sorted({*self.folder.glob("[!.]*.safetensors")} - {self.current, self.previous, self.next})
        if damaged:
            say("no state is left; training starts anew")
        elif others:
            say(f"{others[0]}: of other code, data, versions or device; training starts anew")
        return None


def discard(run: Path) -> None:
    """Remove all states of a run, whose training is finished."""
    shutil.rmtree(run / FOLDER, ignore_errors=True)


@contextlib.contextmanager
def alone(run: Path, stop: StopRequest) -> Iterator[bool]:
    """Wait until no other process trains `run`, such as one left by a killed Snakemake; yields whether it had to wait.

    On a file system without locks it does not wait, and two processes may do the same work; their files are whole either way.
    Raises Interrupted when a signal comes while it waits.
    """
    folder, waited = run / FOLDER, False
    # only a lock of the kernel will do: a file that stands for a lock would remain after its process is killed
    lock = FileLock(folder / ".lock", fallback_to_soft=False)
    while not _take_lock(lock, folder):
        if not waited:
            say("another process trains this run; waiting for its end")
            waited = True
        if stop.signal is not None:
            raise Interrupted("the wait for another process", stop.signal, saved=True)
        time.sleep(1)
    try:
        for left in folder.glob(".*.safetensors"):  # left by a process that was killed while it wrote
            left.unlink(missing_ok=True)
        yield waited
    finally:
        lock.release()


def _take_lock(lock: FileLock, folder: Path) -> bool:
    """Take the lock; return False if another process has it, or has finished and is just removing the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except (Timeout, FileNotFoundError, FileExistsError):
        if folder.is_file():
            raise
        return False
    except OSError as error:
        # an error with a file name means that the lock's file cannot be opened, one without that the file system has no locks
        if error.filename is not None:
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
        # clones, since tensors of a mapped file are not aligned like those of a training without interruption
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    if _digest(tensors, metadata["facts"]) != metadata["sha256"]:
        raise ValueError("its content is not what was saved")
    return State(tensors, json.loads(metadata["facts"]))
