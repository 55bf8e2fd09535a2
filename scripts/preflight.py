"""Try out a profile before a study: what `make preflight` calls. Test jobs say what a compute node sees."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mixvae import cli
from mixvae.cluster import node, profiles, slurm
from mixvae.errors import UserError
from mixvae.study import find_config, load

NAME = "mixvae-preflight"
OUTPUT, ANSWER, TOKEN = "output.log", "answer.json", "token"
# as the smallest job of a study; minutes for a slow file system
LIMITS = ("--ntasks=1", "--cpus-per-task=1", "--mem=2000", "--time=15")
LONGEST = 20 * 60
"""Seconds after which a test job that SLURM should have ended is given up."""

counts: Counter[str] = Counter()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profile", help="a folder in workflow/profiles/")
    parser.add_argument("--study", help="a name in config/ or a path; without it, what the profile alone asks for is tried")
    parser.add_argument("--wait", type=float, default=300, help="seconds that a test job may stay pending (%(default)g)")
    # what a test job does
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--gpu", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.answer:
        answer(arguments.answer, arguments.gpu)
        return 0
    path = profiles.find(arguments.profile) / "config.yaml"
    profile = profiles.read(path)
    config = find_config(arguments.study, Path("config")) if arguments.study is not None else None
    gpu = load(config).study.gpu if config else None
    if profile.get("executor") == "slurm":
        check_cluster(path, profile, config, gpu, arguments.wait)
    else:
        say("ok", "profile", f"{path} starts jobs on this machine: no cluster to check, only what is needed here")
        runs = profiles.pairs(path, "resources", profile.get("resources")).get("gpu", 0)
        if not isinstance(runs, int):
            raise UserError(f"{path}: resources: gpu: expected a number of runs, found {runs!r}")
        facts = node.observe(bool(runs if gpu is None else gpu))
        for level, text in (*node.findings(facts, path, without_gpu(path, config), job=False), *node.sharing(facts, runs)):
            say(level, "here", text)
    outcome = "go" if not counts["error"] else "not ready"
    print(f"preflight of {path.parent.name}: {outcome}; errors: {counts['error']}, warnings: {counts['warning']}")
    return cli.USER_ERROR if counts["error"] else 0


def say(level: str, what: str, text: str) -> None:
    counts[level] += 1
    print(f"{level:<8}{what}: {text}", flush=True)


def attempt(what: str, check: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a check returns; what it raises is an error like others, and the next check goes on."""
    try:
        return check(*arguments)
    except UserError as error:
        say("error", what, str(error))
        return None


def check_cluster(path: Path, profile: dict[str, Any], config: Path | None, gpu: int | None, wait: float) -> None:
    missing = [name for name in ("sbatch", "squeue", "scancel", "scontrol", "sinfo") if shutil.which(name) is None]
    if missing:
        return say("error", "commands", f"no {', '.join(missing)} on PATH; work on a login node, or load its slurm module")
    if (cluster := attempt("controller", slurm.cluster_config)) is None:
        return None
    say("ok", "controller", f"{cluster.get('ClusterName')} answers, SLURM {cluster.get('SLURM_VERSION')}")
    requests = profiles.requests(path, profile, gpu)
    partitions = attempt("partition", slurm.partitions) or {}
    for names in dict.fromkeys(str(request.resources.get("slurm_partition") or "") for request in requests):
        check_partition(path, names, partitions)
    accounts = dict.fromkeys(str(request.resources.get("slurm_account") or "") for request in requests)
    attempt("account", check_account, path, list(accounts), cluster)
    check_status_command(path, profile, cluster)
    for request in requests:
        if request.gpu and gpu == 0:
            say("warning", "gpu", f"{path} asks for one for {request.rules}, but {config} says gpu: 0; set gpu: 1 to use it")
    run_test_jobs(path, config, requests, wait, profiles.number(path, profile, "latency-wait", 5))


def check_partition(path: Path, names: str, partitions: dict[str, dict[str, str]]) -> None:
    known = ", ".join(sorted(partitions))
    default = [name for name, properties in partitions.items() if properties.get("Default") == "YES"]
    if not names and not default:
        return say("error", "partition", f"the cluster has no default; set slurm_partition in {path} to one of {known}")
    for name in names.split(",") if names else default:
        if name not in partitions:
            say("error", "partition", f"no partition {name}; set slurm_partition in {path} to one of {known}")
        elif (state := partitions[name].get("State")) != "UP":
            say("error", "partition", f"{name} is {state}; set slurm_partition in {path} to another of {known}")
        else:
            what = "" if names else ", the default"
            say("ok", "partition", f"{name}{what}, is up; its time limit is {partitions[name].get('MaxTime')}")
    return None


def check_account(path: Path, wanted: list[str], cluster: dict[str, str]) -> None:
    if not slurm.has_accounting(cluster):
        if named := [name for name in wanted if name]:
            return say(
                "warning", "account", f"accounting is off, {', '.join(named)} has no effect; remove slurm_account in {path}"
            )
        return say("ok", "account", "accounting is off: none is needed")
    mine = slurm.accounts()
    for name in wanted:
        if not name and not mine and "associations" in cluster.get("AccountingStorageEnforce", ""):
            say("error", "account", "you have no account here and the cluster wants one; ask its administrators")
        elif not name:
            say("ok", "account", f"your default one; set slurm_account in {path} for another of {', '.join(mine) or 'none'}")
        elif mine and not {part.lower() for part in name.split(",")} <= {account.lower() for account in mine}:
            say("error", "account", f"{name} is none of yours; set slurm_account in {path} to one of {', '.join(mine)}")
        else:
            say("ok", "account", name)
    return None


def check_status_command(path: Path, profile: dict[str, Any], cluster: dict[str, str]) -> None:
    sacct = shutil.which("sacct") is not None
    wanted = str(profile.get("slurm-status-command") or ("sacct" if sacct else "squeue"))
    first_check = profiles.number(path, profile, "slurm-init-seconds-before-status-checks", 40)
    accounting = "on" if slurm.has_accounting(cluster) else "off"
    if trouble := slurm.status_trouble(wanted, first_check, cluster, sacct):
        level, text = trouble
        return say(level, "status", f"{text} in {path}")
    if wanted == "sacct" and attempt("status", slurm.call, "sacct", "--allocations", "--noheader", "--starttime=now") is None:
        return None
    return say("ok", "status", f"{wanted}, with accounting {accounting} and MinJobAge {cluster.get('MinJobAge', 'unknown')}")


def run_test_jobs(path: Path, config: Path | None, requests: list[profiles.Request], wait: float, latency: float) -> None:
    """Submit a job for every different request, then report them one after the other; whatever happens, none is left behind."""
    node.RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".preflight-", dir=node.RESULTS, ignore_cleanup_errors=True) as folder:
        jobs: dict[str, tuple[profiles.Request, Path]] = {}
        try:
            for number, request in enumerate(requests):
                place = Path(folder).resolve() / str(number)
                place.mkdir()
                (place / TOKEN).write_text(secrets.token_hex())
                itself = [sys.executable, __file__, path.parent.name]
                command = shlex.join([*itself, "--answer", str(place), *["--gpu"] * request.gpu])
                options = [f"--job-name={NAME}", f"--output={place / OUTPUT}", "--export=ALL", f"--chdir={Path.cwd()}", *LIMITS]
                try:
                    jobs[slurm.submit(command, *options, *request.options())] = request, place
                except UserError as error:
                    say("error", title(request), f"{error}; asked for {asked(request)} in {path}")
            end = time.monotonic() + wait
            for number, (request, place) in jobs.items():
                attempt(title(request), follow, number, request, place, path, config, end, latency)
        finally:
            left = [job for job in slurm.queue() if job.id in jobs] if jobs else []
            slurm.cancel(left)


def title(request: profiles.Request) -> str:
    return f"{'GPU job' if request.gpu else 'job'} ({request.rules})"


def asked(request: profiles.Request) -> str:
    return " ".join(request.options()) or "nothing but SLURM's defaults"


def without_gpu(path: Path, config: Path | None) -> str:
    return f"set gpu: 0 in {config}" if config else f"ask for none in {path}"


def follow(
    number: str, request: profiles.Request, place: Path, path: Path, config: Path | None, end: float, latency: float
) -> None:
    """Wait for a test job and report what it found; raises UserError when it found nothing."""
    while (job := slurm.find_job(number)) and job.state not in slurm.FINAL:
        if time.monotonic() > (end if job.state == "PENDING" else end + LONGEST):
            state = f"still {job.state.lower()} ({job.reason}), now cancelled"
            raise UserError(f"{state}; asked for {asked(request)} in {path}: change that, or let it wait longer with --wait")
        time.sleep(1)
    ended = f"on {job.node} it ended as {job.state}" if job else "it ended"
    answered = (
        until(lambda: json.loads((place / ANSWER).read_text()), place, latency) if not job or job.state == "COMPLETED" else None
    )
    if answered is None:
        said = (until((place / OUTPUT).read_text, place, 2) or "").strip().splitlines()
        unseen = f"without a word; move {Path.cwd()} to a file system that every node sees and may write to"
        raise UserError(
            f"{ended}: {said[-1]}; see that the environment {sys.prefix} works there" if said else f"{ended} {unseen}"
        )
    if answered["token"] != (place / TOKEN).read_text():
        raise UserError(f"{answered['node']} does not see what is written here; move {Path.cwd()} to a shared file system")
    for level, text in node.findings(answered, path, without_gpu(path, config), job=True):
        say(level, title(request), text)


def until(read: Callable[[], Any], place: Path, latency: float) -> Any:
    """Return what `read` reads as soon as it is there; None when it is not within `latency` seconds."""
    end = time.monotonic() + latency
    while True:
        for folder in (place.parent, place):  # a network file system looks again only when a folder is listed
            list(folder.iterdir())
        try:
            return read()
        except (OSError, ValueError):
            if time.monotonic() > end:
                return None
        time.sleep(0.5)


def answer(place: Path, gpu: bool) -> None:
    """On a compute node: write down what it has."""
    facts = node.observe(gpu) | {"token": until((place / TOKEN).read_text, place, 60)}
    try:
        slurm.call("scontrol", "show", "job", os.environ["SLURM_JOB_ID"])
    except UserError as error:
        facts["scontrol"] = str(error)
    # in two steps, so that nobody reads half of it
    (place / "partial").write_text(json.dumps(facts))
    (place / "partial").rename(place / ANSWER)


cli.run(main)
