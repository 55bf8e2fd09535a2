"""Signals that ask a job to stop: remembered when they come, acted on where the work can be saved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

WARNINGS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""Preemption and scancel, the time limit's warning (`sbatch --signal=USR1@120`), and Ctrl-C."""


class Interrupted(Exception):
    """A job stopped on a signal and can go on from what it has saved.

    Attributes:
        signal: Which one.
        progressed: Whether the job has done anything that was not saved before; a job that has not must not be started again
            and again.
    """

    def __init__(self, where: str, signum: signal.Signals, progressed: bool) -> None:
        super().__init__(f"{signum.name} at {where}; its state is saved, and the same command goes on from there")
        self.signal, self.progressed = signum, progressed


class StopRequest:
    """The signal that came, or None."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and self.signal == signal.SIGINT:
            raise KeyboardInterrupt  # whoever presses Ctrl-C twice does not want to wait
        self.signal = signal.Signals(signum)

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Remember signals instead of dying of them, as long as the block lasts; after an error for good.

        Whoever ends a job sends several signals, and the later ones must not cut short what the first has begun.
        """
        before = {signum: signal.signal(signum, self._remember) for signum in WARNINGS}
        yield self
        for signum, handler in before.items():
            signal.signal(signum, handler)


def ask_for_requeue(stop: Interrupted) -> None:
    """Have SLURM start this job again under the same id, when it was the time limit that stopped it.

    Whoever sends SIGTERM decides himself: preemption requeues, scancel must not. Without SLURM, or where a node has no scontrol,
    the exit code says it, and Snakemake's retries start the job again.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if stop.signal != signal.SIGUSR1 or job is None:
        return
    if not stop.progressed:
        print("not requeued: the time limit left no time for a single training step; raise runtime", file=sys.stderr)
        return
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True, timeout=60)
        print(f"job {job} is requeued", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"job {job} could not be requeued: {error.stderr.strip()}", file=sys.stderr)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"job {job} could not be requeued: {error}", file=sys.stderr)
