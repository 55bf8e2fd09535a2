"""Watches a Snakemake process: waits for its end, interrupts it, and notices if it waits for jobs that SLURM has forgotten."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil

from mixvae.cluster import slurm
from mixvae.errors import UserError

LOGS = Path(".snakemake/log")


def wait(child: subprocess.Popen, prefix: str | None, silence: float) -> int | None:
    """Wait for Snakemake and return its exit code, or end it and return None if it has to be started again.

    Snakemake waits for ever for a job that SLURM has forgotten, e.g. since the controller was away for longer than it remembers
    finished jobs: there is no job in the queue then and no process of Snakemake's, and it says nothing. After `silence` seconds
    of this it is ended. The names of its jobs in SLURM begin with `prefix`, which is None without SLURM.
    """
    since = time.time()
    while True:
        try:
            return child.wait(None if prefix is None else min(60.0, silence / 3))
        except subprocess.TimeoutExpired:
            since = max(since, last_sign_of_life(child.pid, prefix))
        if time.time() - since > silence:
            end(child)
            return None


def last_sign_of_life(pid: int, prefix: str) -> float:
    """Return when Snakemake last said something, or now if it works, has jobs in the queue, or this cannot be known."""
    try:
        # a rule that runs beside Snakemake, as a download does, is in no queue
        if psutil.Process(pid).children() or slurm.jobs_of(Path.cwd(), prefix):
            return time.time()
    except (UserError, psutil.NoSuchProcess):
        return time.time()
    return max((path.stat().st_mtime for path in LOGS.glob("*.log")), default=0.0)


def end(child: subprocess.Popen) -> None:
    """Interrupt Snakemake and all that it has started here, and return when it has ended; again for every further Ctrl-C."""
    while child.poll() is None:
        try:
            os.killpg(child.pid, signal.SIGINT)
            child.wait()
        except KeyboardInterrupt:
            continue
        except ProcessLookupError:
            break
