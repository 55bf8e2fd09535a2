"""The project's folder, another one that looks like it, and the project's commands."""

import contextlib
import io
import runpy
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINKED = ("workflow", "scripts", "src", "config", "envs", "pyproject.toml")


def make_workspace(folder: Path) -> None:
    """Make a folder look like the project's root, with results of its own."""
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "Snakefile", folder)


def run_here(name: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    """Do the same as `run_script`, within this process: a second faster, and for scripts that change nothing in it."""
    command = [str(ROOT / "scripts" / f"{name}.py"), *map(str, arguments)]
    out, err = (
        io.TextIOWrapper(io.BytesIO(), "utf-8", errors, write_through=True) for errors in ("strict", "backslashreplace")
    )
    before, sys.argv = sys.argv, command
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            runpy.run_path(command[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code
    except Exception:
        traceback.print_exc(file=err)
        code = 1
    finally:
        sys.argv = before
    return subprocess.CompletedProcess(command, code, *(stream.buffer.getvalue().decode() for stream in (out, err)))


def refusal(name: str, *arguments: object, cwd: Path) -> str:
    """Run scripts/<name>.py, which must fail with one line, and return what that says."""
    result = run_here(name, *arguments, cwd=cwd)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    return result.stderr.removeprefix("error: ")


def run_script(name: str, *arguments: object, cwd: Path, **options) -> subprocess.CompletedProcess:
    """Run scripts/<name>.py as a user would and return what it printed."""
    command = [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, **options)


def complaint(result: subprocess.CompletedProcess) -> str:
    """Return the one line that a mistake gets from a command."""
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    return line
