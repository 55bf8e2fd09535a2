"""Small studies as a user runs them: their configs, the commands, what they leave, and one that is finished."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import yaml
from filelock import FileLock

from mixvae.files import sha256
from support.project import make_workspace

BLOCK = {
    "dataset": "digits", "likelihood": "bernoulli", "K": [1, 2], "latent": 3,
    "encoder": {"hidden": [12]}, "decoder": {"hidden": [12]},
    "training": {"epochs": 3, "warmup": 2, "batch_size": 200},
    "evaluation": {"samples": 50, "probe_points": 200, "ais": "none"},
}  # fmt: skip
AIS = {"points": 30, "chains": 4, "temperatures": 5, "gap_points": 10}
"""Annealing that takes a second or two."""
SMALL = {**BLOCK, "seed": [0, 1], "evaluation": {**BLOCK["evaluation"], "ais": AIS}}
"""The study that is finished once for all tests."""
LONG = {**BLOCK, "training": {"epochs": 40, "warmup": 2, "batch_size": 20, "patience": 40}}
"""Trainings that take long enough to be interrupted."""
ENDLESS = {**BLOCK, "training": {"epochs": 100_000, "warmup": 2, "batch_size": 20, "patience": 100_000}}
MEASURED = ("--until", "evaluate", "bracket", "latents")
"""For Snakemake: every run is trained and measured, and no table is made."""
MADE_BY_TRAINING = ("model.safetensors", "history.csv", "training.json")


def write_config(folder: Path, *blocks: dict, study: str = "small", **keys) -> Path:
    path = folder / f"{study}.yaml"
    path.write_text(yaml.safe_dump({"study": study, "runs": list(blocks), **keys}))
    return path


def ablation(config: Path, *further: str) -> list[str]:
    """Return the command that `make ablation` calls."""
    return [sys.executable, "scripts/ablation.py", str(config), "--cores", "2", *further]


def snakemake(config: Path, *further: str) -> list[str]:
    """Return the command of plain Snakemake."""
    return [sys.executable, "-m", "snakemake", "--configfile", str(config), "--cores", "2", *further]


def call(line: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run a command as from a shell in which no environment is activated."""
    variables = os.environ | {"PATH": os.defpath} | environment
    return subprocess.run(line, cwd=cwd, env=variables, capture_output=True, text=True, check=False)


def finish(line: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run a command that must succeed."""
    result = call(line, cwd, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def jobs(result: subprocess.CompletedProcess) -> dict[str, int]:
    """Return the numbers of jobs by rule that Snakemake has said that it has to do."""
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", result.stdout + result.stderr, re.MULTILINE)}


@contextlib.contextmanager
def running(line: list[str], cwd: Path, **environment: str) -> Iterator[subprocess.Popen]:
    """Run a command in the background and, in the end, kill it with everything below it."""
    with (cwd / "head.log").open("w") as log:
        variables = os.environ | {"PATH": os.defpath} | environment
        child = subprocess.Popen(line, cwd=cwd, env=variables, stdout=log, stderr=log, start_new_session=True)
    try:
        yield child
    finally:
        kill(family_of(child.pid))
        child.wait()


def family_of(pid: int) -> list[psutil.Process]:
    """Return a process and everything below it."""
    try:
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def command_line(process: psutil.Process) -> str:
    """Return a process's program and arguments, empty if it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def kill(processes: list[psutil.Process]) -> None:
    """Kill processes and wait for their end."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes)


def command_of(process: psutil.Process) -> list[str]:
    """Return the words of a process's command; none for one that has just ended."""
    try:
        return process.as_dict(["cmdline"], ad_value=None)["cmdline"] or []
    except psutil.NoSuchProcess:
        return []


def until(condition: Callable[[], object], seconds: float = 600) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def find(run: Path, name: str) -> Path:
    """Return the path of a file of a run, be it in the run's folder or in that of the only measurement that has such a file."""
    (path,) = (path for path in (run / name, *run.glob(f"measured/*/{name}")) if path.exists())
    return path


def digests(results: Path) -> dict[str, str]:
    """Return the sha256 of every result of training and evaluation."""
    names = (*MADE_BY_TRAINING, "likelihood.json", "pointwise.npz", "latent_metrics.json")
    return {str(path.relative_to(results)): sha256(path) for path in sorted(results.rglob("*")) if path.name in names}


def without_clock(found: dict[str, str]) -> dict[str, str]:
    """Leave out the files that hold times."""
    return {name: digest for name, digest in found.items() if not name.endswith("history.csv")}


def copy_study(study: Path, folder: Path) -> Path:
    """Copy a folder with a study, its times and links as they are, and return the copy."""
    return shutil.copytree(study, folder, symlinks=True, dirs_exist_ok=True)


def copy_results(study: Path, folder: Path) -> Path:
    """Copy a study's results, their times as they are, and return where they lie."""
    return shutil.copytree(study / "results", folder / "results", symlinks=True)


def make_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """Fill a folder that several processes want: one does it, and the others wait."""
    done = Path(f"{folder}.done")
    with FileLock(f"{folder}.lock"):
        if not done.exists():
            folder.mkdir()  # a second try after a failure ends here
            make(folder)
            done.touch()
    return folder


def make_small_study(folder: Path) -> None:
    """Finish a study of SMALL; `said` is what its run printed."""
    make_workspace(folder)
    (folder / "said").write_text(finish(ablation(write_config(folder, SMALL)), folder).stdout)


def make_long_study(folder: Path, datasets: Path) -> None:
    """Train and measure LONG, and its K = 2 with two further seeds, on data that are prepared already."""
    make_workspace(folder)
    copy_study(datasets, folder / "results/datasets")
    finish(ablation(write_config(folder, LONG, {**LONG, "K": 2, "seed": [1, 2]}), *MEASURED), folder)
