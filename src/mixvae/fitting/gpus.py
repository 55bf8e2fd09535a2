"""This file spreads the processes on a node over its GPUs: each process claims one."""

import itertools
import os
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

REHEARSAL = "MIXVAE_REHEARSAL"
"""If this environment variable is set, a job claims a GPU but computes on the CPU, to try a study's scheduling without GPUs."""

_held: list[FileLock] = []
"""The locks that this process holds until it ends; the kernel releases them even if it is killed."""


def visible() -> list[str]:
    """Return the names of the GPUs that this process may use, in the order in which torch counts them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name.strip()]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def mps_runs() -> bool:
    """Return whether NVIDIA's Multi-Process Service runs here, by which processes on one GPU compute at the same time."""
    folder = os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")
    try:
        pid = Path(folder, "nvidia-cuda-mps-control.pid").read_text().strip("\0 \n")
    except OSError:
        return False
    # the file remains when the daemon is killed
    return pid.isdecimal() and Path("/proc", pid).exists()


def claim(names: list[str]) -> int:
    """Claim the GPU that the fewest processes of this user have claimed, until this process ends; return its index.

    Processes are only spread evenly: Snakemake limits how many run at a time (`resources: gpu=...` in a profile).
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
