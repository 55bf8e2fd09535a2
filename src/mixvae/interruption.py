"""A signal that asks a job to stop is remembered, and the job stops at the next point where its work can be saved."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mixvae.progress import say

WARNINGS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""In this order: preemption and scancel; the time limit's warning (`sbatch --signal=USR1@120`); Ctrl-C."""


class Interrupted(Exception):
    """A job stopped on a signal.

    Attributes:
        signal: The signal that stopped it.
        saved: Whether its state is saved, so that the job can be started again and goes on from there.
    """

    def __init__(self, where: str, signum: signal.Signals, saved: bool) -> None:
        what = "its state is saved, and the same command goes on from there" if saved else "its state could not be saved"
        super().__init__(f"{signum.name} at {where}; {what}")
        self.signal, self.saved = signum, saved


class StopRequest:
    """This object remembers in `signal` the last signal that asked the process to stop, or None."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and self.signal == signal.SIGINT:
            raise KeyboardInterrupt  # a user who presses Ctrl-C twice does not want to wait
        self.signal = signal.Signals(signum)

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Remember signals instead of dying of them until the block ends, or, if it ends with an error, until the process ends.

        A job that is stopped gets several signals, and the later ones must not cut short the saving that the first one began.
        """
        before = {signum: signal.signal(signum, self._remember) for signum in WARNINGS}
        yield self
        for signum, handler in before.items():
            signal.signal(signum, handler)


def ask_for_requeue(stop: Interrupted) -> None:
    """Ask SLURM to start this job again under the same id if the time limit stopped it.

    After SIGTERM it asks for nothing: SLURM requeues a preempted job itself, and a cancelled job must not start again.
    Without SLURM, or where a node has no scontrol, the exit code asks Snakemake's retries to start the job again.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or stop.signal != signal.SIGUSR1 or not stop.saved:
        return
    try:
        asked = subprocess.run(["scontrol", "requeue", job], check=False, capture_output=True, text=True, timeout=60)
        # SLURM ends all processes of the job once it accepts the request, scontrol too: only a positive exit code is a refusal
        say(f"job {job} could not be requeued: {asked.stderr.strip()}" if asked.returncode > 0 else f"job {job} is requeued")
    except (OSError, subprocess.TimeoutExpired) as error:
        say(f"job {job} could not be requeued: {error}")
