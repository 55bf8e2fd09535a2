"""Every script runs its main function through this file, which turns an error into one line and an exit code."""

import errno
import os
import signal
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path

from mixvae import own
from mixvae.errors import UserError, one_line
from mixvae.interruption import Interrupted, ask_for_requeue
from mixvae.progress import say

# Python puts the script's folder first, where a script named after its rule would shadow a library of that name (tabulate).
sys.path[:] = [entry for entry in sys.path if Path(entry) != Path(sys.argv[0]).resolve().parent]

USER_ERROR = 1
RESUMABLE = 75
"""The job's work is saved, and it asks to be started again; EX_TEMPFAIL of sysexits.h."""
INTERRUPTED = 130
READER_LEFT = 141
"""The reader of the output has closed it; a shell gives this code for SIGPIPE."""
OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""A full disk, a full quota or a broken device fails on a file that is already open, so the error does not name the file."""


def run(main: Callable[[ArgumentParser], int | None]) -> None:
    """Call `main`, which this may decorate, with a parser for its arguments, and exit with its code.

    The parser's description is the docstring of the file. A UserError, an error in a user's own part, or a file that cannot be
    read or written, is printed as one line.
    """
    try:
        code = main(ArgumentParser(description=main.__globals__["__doc__"], formatter_class=RawDescriptionHelpFormatter)) or 0
        sys.stdout.flush()
        sys.exit(code)
    except BrokenPipeError:
        # the reader, such as `head`, has closed the output; without this python would complain once more when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(READER_LEFT)
    except UserError as error:
        text = str(error)
    except Interrupted as stop:
        say(f"stopped: {stop}")
        ask_for_requeue(stop)
        sys.exit(INTERRUPTED if stop.signal == signal.SIGINT else RESUMABLE)
    except OSError as error:
        if error.filename is None and error.errno not in OF_THE_MACHINE:
            raise
        text = f"{error.filename or Path.cwd()}: {error.strerror}"
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if (text := own.blame(error)) is None:
            raise
    print(f"error: {one_line(text)}", file=sys.stderr)
    sys.exit(USER_ERROR)
