"""Run a study through Snakemake from config check to headline table: what `make ablation` calls."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from mixvae import cli, head, profiles, slurm
from mixvae.adoption import adopt
from mixvae.data.prepared import verify
from mixvae.errors import UserError
from mixvae.spec import Expansion, find_config, load, outputs
from mixvae.spec.steps import steps
from mixvae.spec.study import describe

RESULTS = Path("results")
LOCKS = Path(".snakemake/locks")
LOGS = Path(".snakemake/log")
WITHOUT_JOBS = {"-n", "--dry-run", "--dryrun", "--lint", "--unlock"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", help="a name in config/ or a path")
    parser.add_argument("--cores", required=True)
    parser.add_argument("--profile", default="default", help="a folder in workflow/profiles/")
    parser.add_argument(
        "--forgotten-after", type=float, default=15, metavar="MINUTES", help="of silence with no job left in SLURM's queue"
    )
    # what is not known here is for Snakemake
    arguments, further = parser.parse_known_args()
    if arguments.cores != "all" and not (arguments.cores.isdecimal() and int(arguments.cores) > 0):
        raise UserError(f"CORES: found {arguments.cores!r}, expected a number from 1 or all")
    path = find_config(arguments.study, Path("config"))
    expansion = load(path)
    profile = profiles.find(arguments.profile)
    settings = profiles.read(profile / "config.yaml")
    print(f"{path}: {describe(expansion)}", flush=True)
    verify_data(expansion.datasets)
    snakemake = [sys.executable, "-m", "snakemake", "--configfile", str(path)]
    command = [*snakemake, "--cores", arguments.cores, "--workflow-profile", str(profile), *further]
    # a shell's background jobs ignore SIGINT, and Snakemake, which is ended by it, would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not WITHOUT_JOBS.isdisjoint(further):
        return subprocess.run(command, check=False).returncode
    refuse_unwritable(RESULTS)
    lock = head.take()
    prefix = settings.get("slurm-jobname-prefix") if settings.get("executor") == "slurm" else None
    if prefix:
        cancel_leftovers(prefix)
    while True:
        clear_up(snakemake, expansion)
        # in a process group of its own, which gets one signal, whether a terminal interrupted everything or somebody only this
        # process; the lock is its own, too, should this process be killed
        child = subprocess.Popen(
            command, start_new_session=True, pass_fds=[lock], env=os.environ | {head.INHERITED: str(os.getpid())}
        )
        try:
            code = wait(child, prefix, 60 * arguments.forgotten_after)
        except KeyboardInterrupt:
            os.killpg(child.pid, signal.SIGINT)
            child.wait()
            head.leave()
            print("interrupted; the same command goes on from here", file=sys.stderr)
            return cli.INTERRUPTED
        if code is not None:
            break
    head.leave()
    folder = RESULTS / expansion.study.study
    if folder.is_dir():
        show(folder, expansion)
    return code


def refuse_unwritable(folder: Path) -> None:
    """Raise UserError where nothing can be written, before Snakemake removes anything to make it anew."""
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x" * 4096)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; nothing was started and nothing is lost") from None


def verify_data(names: Iterable[str]) -> None:
    """Raise UserError when a prepared data set was changed, before Snakemake clears away results to make them anew from it."""
    for folder in (RESULTS / "datasets" / name for name in names):
        if (folder / "dataset.json").is_file():
            verify(folder)


def cancel_leftovers(prefix: str) -> None:
    """End the jobs that a killed head has left in SLURM's queue: they would delete and make again what the new one works with."""
    left = slurm.jobs_of(Path.cwd(), prefix)
    if left:
        print(
            f"cancelling {len(left)} jobs that an earlier Snakemake has left; training goes on from its last state", flush=True
        )
        slurm.cancel(left)


def clear_up(snakemake: list[str], expansion: Expansion) -> None:
    """Release the lock of a killed Snakemake, and tell Snakemake of finished results that it would make again."""
    if LOCKS.is_dir() and any(LOCKS.iterdir()):
        print("the last run was cut off: releasing its lock", flush=True)
        subprocess.run([*snakemake, "--unlock", "--quiet", "all"], check=True)
    adopted = adopt(steps(expansion.study.study, expansion.runs, expansion.datasets, RESULTS))
    if adopted.steps:
        print(f"{len(adopted.steps)} finished jobs taken over: their files are what their provenance says", flush=True)
    if adopted.marked:
        # it complains of files that have a mark and nothing more, having removed the marks
        command = [*snakemake, "--cleanup-metadata", *map(str, adopted.marked)]
        subprocess.run(command, capture_output=True, check=False)


def wait(child: subprocess.Popen, prefix: str | None, silence: float) -> int | None:
    """Wait for Snakemake and return its exit code, or None when it has to be started again.

    Snakemake waits for ever for a job that SLURM has forgotten, e.g. since the controller was away for longer than it remembers
    finished jobs: there is no job in the queue then, and Snakemake says nothing.
    """
    since = time.time()
    while True:
        try:
            return child.wait(None if prefix is None else min(60.0, silence / 3))
        except subprocess.TimeoutExpired:
            since = max(since, last_sign_of_life(prefix))
        if time.time() - since > silence:
            print("SLURM has forgotten jobs that Snakemake waits for: starting Snakemake again", flush=True)
            os.killpg(child.pid, signal.SIGINT)
            child.wait()
            return None


def last_sign_of_life(prefix: str) -> float:
    """Return when Snakemake last said something, or now while jobs are in the queue and where that cannot be known."""
    try:
        if slurm.jobs_of(Path.cwd(), prefix):
            return time.time()
    except UserError:
        return time.time()
    return max((path.stat().st_mtime for path in LOGS.glob("*.log")), default=0.0)


def show(folder: Path, expansion: Expansion) -> None:
    """Print the headline tables, the controls and where everything lies."""
    import pandas as pd

    from mixvae.rendering import HEADLINES, MARKS_NOTE, headline

    seen = ""
    names = outputs.tables(expansion.runs.values(), expansion.datasets)
    for kind, (_, what) in HEADLINES.items():
        for path in (folder / f"tables/{name}.csv" for name in names if name.split("_", 1)[0] == kind):
            if path.is_file() and (text := headline(pd.read_csv(path), kind)):
                dataset = path.stem.removeprefix(f"{kind}_")
                print(f"\n{dataset}: {what}\n\n{text}")
                seen += text
                if kind == "ablation":
                    print_controls(folder, expansion, dataset)
    print("".join(f"\n{line}" for line in MARKS_NOTE.splitlines() if line[0] in seen))
    if (folder / "failures.csv").is_file() and len(failed := pd.read_csv(folder / "failures.csv")):
        print(
            f"\n{len(failed)} runs are missing, the first is {failed.run[0]} at rule {failed.rule[0]}: {folder / 'failures.csv'}"
        )
    print(f"\nresults: {folder}/ (tables/, figures/, metrics.csv, skipped.csv, failures.csv), runs: {folder.parent}/runs/")


def print_controls(folder: Path, expansion: Expansion, dataset: str) -> None:
    """Print what a constant predictor reaches on a data set, under each likelihood."""
    import pandas as pd

    metrics = pd.read_csv(folder / "metrics.csv")
    values = metrics[metrics.metric == "nll"].set_index("run")["value"]
    for run, spec in expansion.runs.items():
        if spec.model == "constant" and spec.dataset == dataset and run in values.index:
            print(f"a constant predictor ({spec.likelihood.name}): {values[run]:.3f}")


cli.run(main)
