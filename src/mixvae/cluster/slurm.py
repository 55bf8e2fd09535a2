"""Asks a SLURM cluster through its commands: thin functions, each with a time limit. This file imports no torch."""

import contextlib
import getpass
import os
import re
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mixvae.errors import UserError

TIMEOUT = 60
"""Seconds that a command may take: an overloaded controller needs many, and SLURM's own limit is about ten."""
FINAL = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT",
)  # fmt: skip
"""The states of a job that has ended."""
CHUNK = 500
"""Job ids on one command line."""
SEPARATOR = "\x1f"
FORMAT = SEPARATOR.join(("%i", "%j", "%T", "%r", "%N", "%Z", "%k"))
"""The fields of SlurmJob, as squeue names them."""


class SlurmJob(NamedTuple):
    """A job as squeue shows it; Snakemake's comment is `rule_<rule>_wildcards_<values>`."""

    id: str
    name: str
    state: str
    reason: str
    node: str
    workdir: str
    comment: str


def call(*command: str, timeout: float = TIMEOUT) -> str:
    """Run a command of SLURM's and return what it prints; raises UserError."""
    # a user's own preferences must not change what is listed
    env = {key: value for key, value in os.environ.items() if not key.startswith(("SQUEUE_", "SCANCEL_"))}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=env, check=False)
    except FileNotFoundError:
        raise UserError(f"{command[0]}: no such command on this machine; work on a login node of a SLURM cluster") from None
    except subprocess.TimeoutExpired:
        text = f"{command[0]}: no answer in {timeout:g} s; SLURM's controller is overloaded, try again later"
        raise UserError(text) from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        said = re.sub(r"^\w+: (error|fatal): ", "", lines[-1]).removeprefix("Batch job submission failed: ")
        if re.search("unable to contact|timed out|connect failure|connection refused", said, re.IGNORECASE):
            said += "; SLURM's controller does not answer, try again later"
        raise UserError(f"{command[0]}: {said}")
    return done.stdout


def cluster_config() -> dict[str, str]:
    """Return the cluster's configuration as `scontrol show config` prints it."""
    pairs = (line.partition("=") for line in call("scontrol", "show", "config").splitlines())
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def has_accounting(config: dict[str, str]) -> bool:
    """Return whether the cluster keeps a record of its jobs, so that sacct works."""
    return config.get("AccountingStorageType", "").removeprefix("accounting_storage/") not in ("", "none", "(null)")


def partitions() -> dict[str, dict[str, str]]:
    """Return the properties of every partition: State, Default, MaxTime, ..."""
    lines = call("scontrol", "--oneliner", "show", "partition").splitlines()
    rows = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
    return {row["PartitionName"]: row for row in rows if "PartitionName" in row}


def accounts() -> list[str]:
    """Return the accounts that this user may charge; needs accounting."""
    user = f"user={getpass.getuser()}"
    return sorted(set(call("sacctmgr", "--noheader", "--parsable2", "show", "associations", user, "format=account").split()))


def status_trouble(wanted: str, first_check: int, config: dict[str, str], sacct: bool) -> tuple[str, str] | None:
    """Return (level, problem) if Snakemake would fail to learn the state of jobs, else None; level is "error" or "warning".

    Arguments:
        wanted: The profile's slurm-status-command, squeue or sacct.
        first_check: Its slurm-init-seconds-before-status-checks.
        sacct: Whether the command sacct is there, even if it does not work.
    """
    accounting = has_accounting(config)
    if wanted == "sacct":
        if accounting and sacct:
            return None
        text = "sacct knows no jobs without accounting and Snakemake would wait for ever" if sacct else "there is no sacct here"
        return "error", f"{text}; set slurm-status-command: squeue"
    given = config.get("MinJobAge", "unknown")
    age = int(found[0]) if (found := re.match(r"\d+", given)) else 0  # e.g. 300 sec
    if found and age >= 3 * first_check:
        return None
    forgets = f"SLURM forgets a finished job after MinJobAge = {given}"
    if accounting and sacct:
        return "warning", f"{forgets}, so Snakemake uses sacct instead; set slurm-status-command: sacct"
    # without accounting Snakemake falls back to a sacct that knows nothing, or without a sacct misses the end of jobs
    waits = "Snakemake would wait for it for ever" if accounting else "without accounting Snakemake would wait for ever"
    remedy = f"set slurm-init-seconds-before-status-checks: {age // 3} or less (now {first_check})"
    if age < 3:
        remedy = "have an administrator raise MinJobAge or switch accounting on"
    return "error", f"{forgets}, and {waits}; {remedy}"


def queue(*options: str) -> list[SlurmJob]:
    """Return this user's jobs in the queue, every element of an array by itself; `--states=all` adds finished ones."""
    rows = call("squeue", "--me", "--array", "--noheader", f"--format={FORMAT}", *options).splitlines()
    values = (["" if value == "(null)" else value for value in row.split(SEPARATOR)] for row in rows)
    return [SlurmJob(*row) for row in values if len(row) == len(SlurmJob._fields)]


def jobs_of(workdir: Path, prefix: str) -> list[SlurmJob]:
    """Return this user's unfinished jobs that work in the folder and whose names start with the prefix."""
    here = workdir.resolve()
    return [job for job in queue() if job.name.startswith(prefix) and Path(job.workdir).resolve() == here]


def cancel(jobs: Iterable[SlurmJob], timeout: float = 120) -> None:
    """Cancel jobs and return when all have ended; raises UserError when some have not in time.

    A job may take KillWait (30 s) to end after SIGTERM.
    """
    ids, end = {job.id for job in jobs}, time.monotonic() + timeout
    while ids and (left := [job for job in queue() if job.id in ids]):
        if time.monotonic() > end:
            raise UserError(
                f"job {', '.join(job.id for job in left)}: still in the queue {timeout:g} s after scancel; see squeue --me"
            )
        # cancel again and again: a job that was about to be requeued is back in the queue a moment later
        pending = [job.id for job in left if job.state != "COMPLETING"]
        for start in range(0, len(pending), CHUNK):
            # a job that has ended meanwhile is no mistake, and a job that could not be cancelled stays in the queue
            with contextlib.suppress(UserError):
                call("scancel", "--quiet", *pending[start : start + CHUNK])
        time.sleep(1)


def submit(command: str, *options: str) -> str:
    """Submit a shell command as a job and return the job's id; raises UserError with SLURM's reason for refusing it."""
    return call("sbatch", "--parsable", *options, f"--wrap={command}").strip().split(";")[0]


def find_job(number: str) -> SlurmJob | None:
    """Return a job of this user's, finished or not; None when SLURM has forgotten it."""
    # not by --jobs, which is an error for a job that is forgotten
    return next((job for job in queue("--states=all") if job.id == number), None)
