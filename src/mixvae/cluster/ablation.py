"""The command `make ablation`: runs a study through Snakemake, from the check of its config to its headline tables."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mixvae import cli
from mixvae.cluster import head, profiles, slurm, watch
from mixvae.cluster.adoption import adopt
from mixvae.cluster.takeover import take_over
from mixvae.data.prepared import verify
from mixvae.errors import UserError
from mixvae.study import Expansion, find_config, load
from mixvae.study.jobs import all_jobs
from mixvae.study.outputs import PAGES
from mixvae.study.overview import describe
from mixvae.study.place import CONFIGS, RESULTS
from mixvae.study.rules import listing
from mixvae.summary.headline import show

LOCKS = Path(".snakemake/locks")
WITHOUT_JOBS = ("-n", "--dry", "--lint", "--unlock", "--summary", "--detailed-summary", "--dag", "--rulegraph", "--list")
"""The beginnings of those options of Snakemake with which it starts no job."""


def run_study(name: str, cores: str, profile: str, silence: float, further: Sequence[str]) -> int:
    """Run a study on a number of cores, or "all", with further options for Snakemake, and return the exit code.

    Snakemake is started again after `silence` minutes in which it says nothing and SLURM has no job of it. Raises UserError for
    what is wrong with the config, the profile, prepared data or the folder.
    """
    if cores != "all" and not (cores.isdecimal() and int(cores) > 0):
        raise UserError(f"CORES: found {cores!r}, expected a number from 1 or all")
    path = find_config(name, CONFIGS)
    expansion = load(path)
    folder = profiles.find(profile)
    settings = profiles.read(folder / "config.yaml")
    print(f"{path}: {describe(expansion)}", flush=True)
    for data in (RESULTS / "datasets" / dataset for dataset in expansion.datasets):
        # before Snakemake clears away results to make them anew from data that were changed
        if (data / "dataset.json").is_file():
            verify(data)
    snakemake = [sys.executable, "-m", "snakemake", "--configfile", str(path)]
    command = [*snakemake, "--cores", cores, "--workflow-profile", str(folder), *further]
    # a shell's background jobs ignore SIGINT, and Snakemake, which is ended by it, would inherit that
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    if any(option.startswith(WITHOUT_JOBS) for option in further):
        return subprocess.run(command, check=False).returncode
    _refuse_unwritable(RESULTS)
    lock = head.take()
    prefix = settings.get("slurm-jobname-prefix") if settings.get("executor") == "slurm" else None
    try:
        if prefix and (left := slurm.jobs_of(Path.cwd(), prefix)):
            # they would delete and remake files that the new head uses
            print(
                f"cancelling {len(left)} jobs that an earlier Snakemake has left; training goes on from its last state",
                flush=True,
            )
            slurm.cancel(left)
        if taken := take_over(RESULTS / "runs", expansion.runs):
            print(f"{taken} runs of version 0.1 taken over: nothing of them is trained again", flush=True)
        code = None
        while code is None:
            _clear_up(snakemake, expansion)
            code = _run_snakemake(command, lock, prefix, 60 * silence)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return cli.INTERRUPTED
    finally:
        head.leave()
    if (RESULTS / expansion.study.study).is_dir():
        show(RESULTS / expansion.study.study, expansion)
        say_what_is_old(RESULTS / expansion.study.study)
    return code


def _run_snakemake(command: Sequence[str], lock: int | None, prefix: str | None, silence: float) -> int | None:
    """Run Snakemake and return its exit code, or None if SLURM has forgotten its jobs, so that it has to be started again.

    It inherits the head's lock, and keeps it should this process be killed; `prefix` and `silence` are those of `watch.wait`.
    An interrupt also ends everything that Snakemake has started on this machine.
    """
    # a process group of its own gets one signal, whether a terminal interrupted everything or somebody only this process
    environment = os.environ | {head.INHERITED: str(os.getpid())}
    child = subprocess.Popen(command, start_new_session=True, pass_fds=[] if lock is None else [lock], env=environment)
    try:
        head.name(child.pid)
        code = watch.wait(child, prefix, silence)
    except KeyboardInterrupt:
        watch.end(child)
        raise
    if code is None:
        print("SLURM had forgotten jobs that Snakemake waited for: starting Snakemake again", flush=True)
    return code


def say_what_is_old(folder: Path) -> None:
    """Print which pages about a study are older than its tables and figures."""
    made = [path.stat().st_mtime for path in folder.glob("provenance/*.json") if path.stem in ("tabulate", "figures")]
    for rule, page in ((rule, folder / name) for rule, name in PAGES.items()):
        if page.is_file() and page.stat().st_mtime < max(made, default=0.0):
            print(f"{page} was made before these results: make {rule} makes it again, and make audit fails until then")


def _refuse_unwritable(folder: Path) -> None:
    """Raise UserError where nothing can be written, before Snakemake removes anything to make it anew."""
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x" * 4096)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; nothing was started and nothing is lost") from None


def _clear_up(snakemake: Sequence[str], expansion: Expansion) -> None:
    """Release the lock of a killed Snakemake, and bring its idea of what is finished in line with the records."""
    if LOCKS.is_dir() and any(LOCKS.iterdir()):
        print("the last Snakemake was cut off: releasing its lock", flush=True)
        subprocess.run([*snakemake, "--unlock", "--quiet", "all"], check=True)
    found = adopt(all_jobs(expansion.study.study, expansion.runs, expansion.datasets, RESULTS), listing(expansion))
    if found.jobs:
        print(f"{len(found.jobs)} finished jobs taken over: their files are what their provenance says", flush=True)
    for job in found.outdated:
        print(f"{job.rule} of {job.name} is done again: it was made from other files than are there now", flush=True)
    if found.marked:
        # Snakemake removes the marks, and then complains of files that have a mark and nothing more
        command = [*snakemake, "--cleanup-metadata", *map(str, found.marked)]
        subprocess.run(command, capture_output=True, check=False)
