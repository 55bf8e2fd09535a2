"""Signals that ask a job to stop: remembered when they come, acted on where the work can be saved."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mixvae.progress import say

WARNINGS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""Preemption and scancel, the time limit's warning (`sbatch --signal=USR1@120`), and Ctrl-C."""


class Interrupted(Exception):
    """A job stopped on a signal.

    Attributes:
        signal: Which one.
        saved: Whether it can go on from where it was, so that it is worth starting again.
    """

    def __init__(self, where: str, signum: signal.Signals, saved: bool) -> None:
        what = "its state is saved, and the same command goes on from there" if saved else "its state could not be saved"
        super().__init__(f"{signum.name} at {where}; {what}")
        self.signal, self.saved = signum, saved


class StopRequest:
    """A signal that asked this process to stop.

    signal: The last one that came, or None.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and self.signal == signal.SIGINT:
            raise KeyboardInterrupt  # whoever presses Ctrl-C twice does not want to wait
        self.signal = signal.Signals(signum)

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Remember signals instead of dying of them until the block ends; when it ends with an error, until the process does.

        Whoever ends a job sends several signals, and the later ones must not cut short what the first has begun.
        """
        before = {signum: signal.signal(signum, self._remember) for signum in WARNINGS}
        yield self
        for signum, handler in before.items():
            signal.signal(signum, handler)


def ask_for_requeue(stop: Interrupted) -> None:
    """Have SLURM start this job again under the same id, when it was the time limit that stopped it.

    After SIGTERM nothing is asked for: a preempted job is requeued by SLURM, and one that somebody cancelled must not start again.
    Without SLURM, or where a node has no scontrol, the exit code asks Snakemake's retries to start the job again.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or stop.signal != signal.SIGUSR1 or not stop.saved:
        return
    try:
        asked = subprocess.run(["scontrol", "requeue", job], check=False, capture_output=True, text=True, timeout=60)
        # SLURM ends the job's processes as soon as it has taken the request, and scontrol is one of them: a signal is no refusal
        say(f"job {job} could not be requeued: {asked.stderr.strip()}" if asked.returncode > 0 else f"job {job} is requeued")
    except (OSError, subprocess.TimeoutExpired) as error:
        say(f"job {job} could not be requeued: {error}")
