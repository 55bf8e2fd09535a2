"""What all command-line entry points share: one line for a user's mistake, and how a device is chosen."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from mixvae import gpus
from mixvae.errors import UserError, one_line
from mixvae.interruption import Interrupted, ask_for_requeue
from mixvae.progress import say
from mixvae.spec import AnyRun, parse_run_json

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


def read_spec(text: str, source: str) -> AnyRun:
    """Parse a run's JSON; raises UserError naming `source` and what is wrong."""
    try:
        return parse_run_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{source}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def run_spec(folder: Path) -> AnyRun:
    """Read `spec.json` of a run's folder; raises UserError."""
    path = folder / "spec.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file; train the run first")
    return read_spec(path.read_text(), str(path))


def torch_device(gpu: int, threads: int):
    """Return the CPU or, with `gpu`, the least busy GPU as a torch device, with torch limited to `threads`.

    Raises UserError when a GPU is asked for and torch sees none.
    """
    import torch

    torch.set_num_threads(threads)
    set_numerics()
    if not gpu:
        return torch.device("cpu")
    rehearsal = bool(os.environ.get(gpus.REHEARSAL))
    if not rehearsal and not torch.cuda.is_available():
        given = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        raise UserError(
            f"gpu: torch {torch.__version__} sees no GPU here (CUDA_VISIBLE_DEVICES is {given}); set gpu: 0 in the config, or run "
            "where there is one with a torch built for it"
        )
    names = gpus.visible()
    index = gpus.claim(names) if names else 0
    if rehearsal:
        say(f"rehearsal: on the CPU in place of GPU {names[index] if names else 'none'}")
        return torch.device("cpu")
    return torch.device("cuda", index)


def set_numerics() -> None:
    """Keep float32 as it is on a GPU, and bits the same from run to run.

    By default, cuDNN's convolutions take their inputs in TF32, with ten bits of mantissa, and add up in any order.
    """
    import torch

    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def device_name(device) -> str | None:
    """Return the GPU's name, or None for the CPU, whose name provenance knows."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else None
