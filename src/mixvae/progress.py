"""A job shows its progress as a bar on a terminal, and as a few lines in a log."""

import contextlib
import os
import sys
import time

from tqdm import tqdm

FIRST_LINE, LONGEST_SILENCE = 5.0, 300.0


def say(text: str) -> None:
    """Write a line to standard error; if the disk of the log is full, the line is lost and the work goes on."""
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())  # not print, which would try to write its buffer again at exit


class Progress:
    """This counts what is done; a log gets a line at doubling intervals, from 5 seconds up to 5 minutes, and at the end.

    Of the `total` things that `label` names, `done` were done before this process.
    """

    def __init__(self, total: int, label: str, done: int = 0) -> None:
        self.total, self.label, self.done = total, label, done
        self.bar = tqdm(total=total, desc=label, initial=done) if sys.stderr.isatty() else None
        self.start = time.monotonic()
        self.interval = FIRST_LINE
        self.next_line = self.start + FIRST_LINE

    def step(self, text: str = "") -> None:
        """Count one thing as done; `text` is shown beside the count."""
        self.done += 1
        if self.bar is not None:
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update()
        elif time.monotonic() >= self.next_line:
            self.interval = min(2 * self.interval, LONGEST_SILENCE)
            self.next_line = time.monotonic() + self.interval
            self._line(text)

    def close(self, text: str = "") -> None:
        """End the bar and write a last line with `text`."""
        if self.bar is not None:
            self.bar.close()
        self._line(text)

    def _line(self, text: str) -> None:
        say(f"{self.label} {self.done}/{self.total}, {time.monotonic() - self.start:.0f} s: {text}")
