"""Run a study through Snakemake from config check to headline table: what `make ablation` calls."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mixvae import cli
from mixvae.cluster import head, profiles, slurm, watch
from mixvae.cluster.adoption import adopt
from mixvae.data.prepared import verify
from mixvae.errors import UserError
from mixvae.study import Expansion, find_config, load
from mixvae.study.config import describe, listing
from mixvae.study.steps import steps
from mixvae.summary.headline import show

RESULTS = Path("results")
LOCKS = Path(".snakemake/locks")
WITHOUT_JOBS = ("-n", "--dry", "--lint", "--unlock", "--summary", "--detailed-summary", "--dag", "--rulegraph", "--list")


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
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    if any(option.startswith(WITHOUT_JOBS) for option in further):
        return subprocess.run(command, check=False).returncode
    refuse_unwritable(RESULTS)
    lock = head.take()
    try:
        code = run(command, snakemake, expansion, settings, lock, 60 * arguments.forgotten_after)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return cli.INTERRUPTED
    finally:
        head.leave()
    folder = RESULTS / expansion.study.study
    if folder.is_dir():
        show(folder, expansion)
    return code


def run(
    command: list[str], snakemake: list[str], expansion: Expansion, settings: dict[str, Any], lock: int | None, silence: float
) -> int:
    """Run Snakemake to its end and return its exit code; after an interrupt, everything that it has started here has ended."""
    prefix = settings.get("slurm-jobname-prefix") if settings.get("executor") == "slurm" else None
    if prefix:
        cancel_leftovers(prefix)
    while True:
        clear_up(snakemake, expansion)
        # in a process group of its own, which gets one signal, whether a terminal interrupted everything or somebody only this
        # process; the lock is its own, too, should this process be killed
        environment = os.environ | {head.INHERITED: str(os.getpid())}
        inherited = [] if lock is None else [lock]
        child = subprocess.Popen(command, start_new_session=True, pass_fds=inherited, env=environment)
        try:
            head.name(child.pid)
            code = watch.wait(child, prefix, silence)
        except KeyboardInterrupt:
            watch.end(child)
            raise
        if code is not None:
            return code
        print("SLURM had forgotten jobs that Snakemake waited for: starting Snakemake again", flush=True)


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
    """Release the lock of a killed Snakemake, and bring its idea of what is finished in line with the provenance."""
    if LOCKS.is_dir() and any(LOCKS.iterdir()):
        print("the last run was cut off: releasing its lock", flush=True)
        subprocess.run([*snakemake, "--unlock", "--quiet", "all"], check=True)
    name = expansion.study.study
    found = adopt(steps(name, expansion.runs, expansion.datasets, RESULTS), listing(expansion))
    if found.steps:
        print(f"{len(found.steps)} finished jobs taken over: their files are what their provenance says", flush=True)
    for step in found.outdated:
        print(f"{step.rule} of {step.name} is done again: it was made from other files than are there now", flush=True)
    if found.marked:
        # it complains of files that have a mark and nothing more, having removed the marks
        command = [*snakemake, "--cleanup-metadata", *map(str, found.marked)]
        subprocess.run(command, capture_output=True, check=False)


cli.run(main)
