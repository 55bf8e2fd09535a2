"""Processes that share the GPUs of a node each claim one."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

REHEARSAL = "MIXVAE_REHEARSAL"
"""When set, what asks for a GPU takes its turn as if it had one but computes on the CPU: a study's scheduling tried without GPUs."""

_held: list[FileLock] = []
"""Locks last as long as the process: the kernel takes them back even from one that was killed."""


def visible() -> list[str]:
    """Return the names of the GPUs that this process may use, in the order in which torch counts them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name.strip()]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def mps_runs() -> bool:
    """Return whether NVIDIA's Multi-Process Service runs here: processes that share a GPU then compute at the same time, not in turns."""
    folder = os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")
    try:
        pid = Path(folder, "nvidia-cuda-mps-control.pid").read_text().strip("\0 \n")
    except OSError:
        return False
    # the file outlasts a daemon that was killed
    return pid.isdecimal() and Path("/proc", pid).exists()


def claim(names: list[str]) -> int:
    """Return the index of the GPU that the fewest other processes of this user have claimed, and claim it until the process ends.

    How many may run at a time is Snakemake's affair (`resources: gpu=...` in a profile); they are only spread evenly here.
    """
    folder = Path(tempfile.gettempdir()) / f"mixvae-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for place in itertools.count():
        for index, name in enumerate(names):
            lock = FileLock(folder / f"{name.replace('/', '-')}.{place}", fallback_to_soft=False)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            _held.append(lock)
            return index
    raise AssertionError("unreachable: there is always a further place")
