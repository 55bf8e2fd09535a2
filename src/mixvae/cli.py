"""What all command-line entry points share: exit codes, and one line for a user's mistake."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from mixvae.errors import UserError, one_line
from mixvae.interruption import Interrupted, ask_for_requeue
from mixvae.progress import say

# A script is named after its rule; its folder, which python puts first, must not shadow a library of that name (tabulate).
sys.path[:] = [entry for entry in sys.path if Path(entry) != Path(sys.argv[0]).resolve().parent]

USER_ERROR = 1
RESUMABLE = 75
"""What was done is saved and the job asks to be started again; EX_TEMPFAIL of sysexits.h."""
INTERRUPTED = 130
READER_LEFT = 141
"""As a shell gives it for SIGPIPE."""
OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""A full disk, quota or broken device meets a file that is open, so that the error does not know its name."""


def run(main: Callable[[], int | None]) -> None:
    """Call `main` and leave the process with its exit code; a UserError, or a file that cannot be read or written, is one line."""
    try:
        code = main() or 0
        sys.stdout.flush()
        sys.exit(code)
    except BrokenPipeError:
        # whoever read the output, as head does, has had enough; python would complain once more on leaving
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(READER_LEFT)
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except Interrupted as stop:
        say(f"stopped: {stop}")
        ask_for_requeue(stop)
        sys.exit(INTERRUPTED if stop.signal == signal.SIGINT else RESUMABLE)
    except OSError as error:
        if error.filename is None and error.errno not in OF_THE_MACHINE:
            raise
        print(f"error: {one_line(error.filename or Path.cwd())}: {error.strerror}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
