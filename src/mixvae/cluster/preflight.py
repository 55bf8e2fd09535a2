"""The command `make preflight`: tries out what a profile needs of this cluster or machine, and says what to change."""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from mixvae.cluster import node, profiles, slurm, trial
from mixvae.cluster.node import Line, Remark, under
from mixvae.errors import UserError
from mixvae.study import find_config, load
from mixvae.study.place import CONFIGS

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")


def preflight(name: str, study: str | None, wait: float) -> bool:
    """Try a profile, print what was found, and return whether a study could start with it.

    Without a study, what the profile alone asks for is tried. A trial job may stay pending for `wait` seconds. Raises UserError
    for a profile or a config that cannot be read.
    """
    path = profiles.find(name) / "config.yaml"
    profile = profiles.read(path)
    config = find_config(study, CONFIGS) if study is not None else None
    gpu = load(config).study.gpu if config else None
    check = _check_cluster if profile.get("executor") == "slurm" else _check_machine
    counts: Counter[str] = Counter()
    # closed whatever happens, so that no trial job is left behind
    with closing(check(path, profile, config, gpu, wait)) as lines:
        for level, what, text in lines:
            counts[level] += 1
            print(f"{level:<8}{what}: {text}", flush=True)
    outcome = "not ready" if counts["error"] else "go"
    print(f"preflight of {name}: {outcome}; errors: {counts['error']}, warnings: {counts['warning']}")
    return not counts["error"]


def _check_machine(path: Path, profile: dict[str, Any], config: Path | None, gpu: int | None, wait: float) -> Iterator[Line]:
    """Check this machine, on which the profile starts jobs."""
    yield "ok", "profile", f"{path} starts jobs on this machine: no cluster to check, only what is needed here"
    runs = profiles.pairs(path, "resources", profile.get("resources")).get("gpu", 0)
    if not isinstance(runs, int):
        raise UserError(f"{path}: resources: gpu: expected a number of runs, found {runs!r}")
    facts = node.observe(bool(runs if gpu is None else gpu))
    yield from under("here", node.remarks(facts, path, _without_gpu(path, config), job=False))
    yield from under("here", node.sharing(facts, runs))


def _check_cluster(path: Path, profile: dict[str, Any], config: Path | None, gpu: int | None, wait: float) -> Iterator[Line]:
    """Check what the profile asks SLURM for, and try it by a trial job for every different request."""
    if missing := [command for command in COMMANDS if shutil.which(command) is None]:
        yield "error", "commands", f"no {', '.join(missing)} on PATH; work on a login node, or load its slurm module"
        return
    try:
        cluster = slurm.cluster_config()
    except UserError as error:
        yield "error", "controller", str(error)
        return
    yield "ok", "controller", f"{cluster.get('ClusterName')} answers, SLURM {cluster.get('SLURM_VERSION')}"
    requests = profiles.requests(path, profile, gpu)
    yield from under("partition", _partitions(path, requests))
    yield from under("account", _accounts(path, requests, cluster))
    yield from under("status", _status_command(path, profile, cluster))
    for request in requests:
        if request.gpu and gpu == 0:
            yield "warning", "gpu", f"{path} asks for one for {request.rules}, but {config} says gpu: 0; set gpu: 1 to use it"
    yield from trial.run(path, _without_gpu(path, config), requests, wait, profiles.number(path, profile, "latency-wait", 5))


def _without_gpu(path: Path, config: Path | None) -> str:
    """Return advice on how to do without a GPU."""
    return f"set gpu: 0 in {config}" if config else f"ask for none in {path}"


def _asked_for(requests: list[profiles.Request], resource: str) -> list[str]:
    """Return the different values of a resource that the requests name, "" for none."""
    return list(dict.fromkeys(str(request.resources.get(resource) or "") for request in requests))


def _partitions(path: Path, requests: list[profiles.Request]) -> Iterator[Remark]:
    there = slurm.partitions()
    known = ", ".join(sorted(there))
    for names in _asked_for(requests, "slurm_partition"):
        wanted = names.split(",") if names else [name for name, row in there.items() if row.get("Default") == "YES"]
        if not wanted:
            yield "error", f"the cluster has no default; set slurm_partition in {path} to one of {known}"
        for name in wanted:
            if name not in there:
                yield "error", f"no partition {name}; set slurm_partition in {path} to one of {known}"
            elif (state := there[name].get("State")) != "UP":
                yield "error", f"{name} is {state}; set slurm_partition in {path} to another of {known}"
            else:
                default = "" if names else ", the default"
                yield "ok", f"{name}{default}, is up; its time limit is {there[name].get('MaxTime')}"


def _accounts(path: Path, requests: list[profiles.Request], cluster: dict[str, str]) -> Iterator[Remark]:
    wanted = _asked_for(requests, "slurm_account")
    if not slurm.has_accounting(cluster):
        if named := [name for name in wanted if name]:
            yield "warning", f"accounting is off, {', '.join(named)} has no effect; remove slurm_account in {path}"
        else:
            yield "ok", "accounting is off: none is needed"
        return
    mine = slurm.accounts()
    for name in wanted:
        if not name and not mine and "associations" in cluster.get("AccountingStorageEnforce", ""):
            yield "error", "you have no account here and the cluster wants one; ask its administrators"
        elif not name:
            yield "ok", f"your default one; set slurm_account in {path} for another of {', '.join(mine) or 'none'}"
        elif mine and not {part.lower() for part in name.split(",")} <= {account.lower() for account in mine}:
            yield "error", f"{name} is none of yours; set slurm_account in {path} to one of {', '.join(mine)}"
        else:
            yield "ok", name


def _status_command(path: Path, profile: dict[str, Any], cluster: dict[str, str]) -> Iterator[Remark]:
    sacct = shutil.which("sacct") is not None
    wanted = str(profile.get("slurm-status-command") or ("sacct" if sacct else "squeue"))
    first_check = profiles.number(path, profile, "slurm-init-seconds-before-status-checks", 40)
    if trouble := slurm.status_trouble(wanted, first_check, cluster, sacct):
        level, text = trouble
        yield level, f"{text} in {path}"
        return
    if wanted == "sacct":
        slurm.call("sacct", "--allocations", "--noheader", "--starttime=now")
    accounting = "on" if slurm.has_accounting(cluster) else "off"
    yield "ok", f"{wanted}, with accounting {accounting} and MinJobAge {cluster.get('MinJobAge', 'unknown')}"
