"""The state of a training that is not finished, kept so that it can go on with the same bits after a kill."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mixvae.files import atomic, canonical_json
from mixvae.interruption import Interrupted, StopRequest

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
        identity: What the result depends on: spec, inputs, code, versions, kind of device.
        attempt: Who trains: host, device, job. `attempts` lists those of all processes that the training took.
        seconds: How often `due` asks for saving.
        stop: A signal in it makes `due` ask at once.
    """

    def __init__(
        self, run: Path, identity: Mapping[str, Any], seconds: float, stop: StopRequest, attempt: Mapping[str, Any]
    ) -> None:
        self.folder = run / FOLDER
        name = hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:16]
        self.current, self.previous = (self.folder / f"{name}{end}.safetensors" for end in ("", ".previous"))
        self.seconds, self.stop = seconds, stop
        self.next = time.monotonic() + seconds
        self.saved_here = False
        self.attempts = [dict(attempt)]

    def due(self) -> bool:
        """Return whether the state should be saved now."""
        return self.stop.signal is not None or time.monotonic() >= self.next

    def save(self, state: State, where: str, progressed: bool) -> None:
        """Save `state`, reached at `where`; raises Interrupted when a signal was the reason.

        A full disk costs the checkpoint and not the training, which goes on with a warning.
        """
        try:
            self._write(state)
        except OSError as error:
            print(
                f"warning: {self.current}: no checkpoint could be written ({error.strerror}); training goes on", file=sys.stderr
            )
            if self.stop.signal is not None:
                raise Interrupted(where, self.stop.signal, progressed=False) from None
        else:
            self.saved_here |= progressed
        self.next = time.monotonic() + self.seconds
        if self.stop.signal is not None:
            raise Interrupted(where, self.stop.signal, self.saved_here)

    def _write(self, state: State) -> None:
        facts = json.dumps(state.facts | {"attempts": self.attempts})
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
        metadata = {"facts": facts, "sha256": _digest(tensors, facts)}
        with atomic(self.current) as temporary:
            temporary.write_bytes(save(tensors, metadata))
            if self.current.exists():
                # a kill between this and the next renaming leaves the state before
                self.current.replace(self.previous)

    def load(self) -> State | None:
        """Return the last state that is whole, or None; what is damaged is said and passed over."""
        for path in (self.current, self.previous):
            if not path.exists():
                continue
            try:
                state = _read(path)
                self.attempts = [*state.facts.pop("attempts"), *self.attempts]
                return state
            except (OSError, SafetensorError, ValueError, KeyError) as error:
                print(f"warning: {path}: damaged, so the state before it is used ({error})", file=sys.stderr)
        others = sorted(self.folder.glob("[!.]*.safetensors"))
        if others:
            print(f"{others[0]}: of other code, data, versions or device; training starts anew", file=sys.stderr)
        return None

    def discard(self) -> None:
        """Remove all states: the training is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def alone(run: Path, stop: StopRequest) -> Iterator[bool]:
    """Wait until no other process trains `run`, as one left by a killed Snakemake may; yields whether there was one.

    File systems without locks give none, and two processes then do the same work; their files are whole either way.
    Raises Interrupted when a signal comes while waiting.
    """
    folder = run / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        waited = False
        while not _locked(lock):
            if not waited:
                print("another process trains this run; waiting for its end", file=sys.stderr, flush=True)
                waited = True
            if stop.signal is not None:
                raise Interrupted("the wait for another process", stop.signal, progressed=True)
            time.sleep(1)
        for left in folder.glob(".*.safetensors"):  # by a kill in the middle of writing
            left.unlink(missing_ok=True)
        yield waited


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # no locks here
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
