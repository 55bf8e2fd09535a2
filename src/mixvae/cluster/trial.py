"""Runs trial jobs: for every different request of a profile, one small SLURM job writes down what its node has."""

import json
import os
import secrets
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mixvae.cluster import node, slurm
from mixvae.cluster.node import Line, Remark, under
from mixvae.cluster.profiles import Request
from mixvae.code import ROOT
from mixvae.errors import UserError
from mixvae.study.place import RESULTS

NAME = "mixvae-preflight"
OUTPUT, ANSWER, TOKEN = "output.log", "answer.json", "token"
LIMITS = ("--ntasks=1", "--cpus-per-task=1", "--mem=2000", "--time=15")
"""What every trial job asks for, like the smallest job of a study; it gets 15 minutes because a file system may be slow."""
LONGEST = 20 * 60
"""Seconds after which a job that SLURM should have ended is given up."""


def run(path: Path, instead: str, requests: Sequence[Request], wait: float, latency: float) -> Iterator[Line]:
    """Submit all trial jobs, then yield what each found; whatever happens, none is left in the queue.

    A job may stay pending for `wait` seconds, and a file may take `latency` seconds to be seen from another node. `path` and
    `instead` are those of `node.remarks`.
    """
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".preflight-", dir=RESULTS, ignore_cleanup_errors=True) as folder:
        jobs: dict[str, tuple[Request, Path]] = {}
        try:
            for number, request in enumerate(requests):
                place = Path(folder).resolve() / str(number)
                place.mkdir()
                (place / TOKEN).write_text(secrets.token_hex())
                answer = ["scripts/preflight.py", path.parent.name, "--answer", str(place), *["--gpu"] * request.gpu]
                command = shlex.join([sys.executable, str(ROOT / answer[0]), *answer[1:]])
                options = [f"--job-name={NAME}", f"--output={place / OUTPUT}", "--export=ALL", f"--chdir={Path.cwd()}", *LIMITS]
                try:
                    jobs[slurm.submit(command, *options, *request.options())] = request, place
                except UserError as error:
                    yield "error", request.title, f"{error}; asked for {request.asked} in {path}"
            end = time.monotonic() + wait
            for number, (request, place) in jobs.items():
                yield from under(request.title, _follow(number, request, place, path, instead, end, latency))
        finally:
            slurm.cancel([job for job in slurm.queue() if job.id in jobs] if jobs else [])


def _follow(
    number: str, request: Request, place: Path, path: Path, instead: str, end: float, latency: float
) -> Iterator[Remark]:
    """Wait for a trial job and yield what it found; raises UserError when it found nothing."""
    while (job := slurm.find_job(number)) and job.state not in slurm.FINAL:
        if time.monotonic() > (end if job.state == "PENDING" else end + LONGEST):
            state = f"still {job.state.lower()} ({job.reason}), now cancelled"
            raise UserError(f"{state}; asked for {request.asked} in {path}: change that, or let it wait longer with --wait")
        time.sleep(1)
    found = None
    if not job or job.state == "COMPLETED":
        found = _read_once_there(place / ANSWER, latency)
    if found is None:
        ended = f"on {job.node} it ended as {job.state}" if job else "it ended"
        if said := (_read_once_there(place / OUTPUT, 2) or "").strip().splitlines():
            raise UserError(f"{ended}: {said[-1]}; see that the environment {sys.prefix} works there")
        raise UserError(f"{ended} without a word; move {Path.cwd()} to a file system that every node sees and may write to")
    facts = json.loads(found)
    if facts["token"] != (place / TOKEN).read_text():
        raise UserError(f"{facts['node']} does not see what is written here; move {Path.cwd()} to a shared file system")
    yield from node.remarks(facts, path, instead, job=True)


def _read_once_there(file: Path, latency: float) -> str | None:
    """Return what is in a trial job's file as soon as it is there, or None if it is not within `latency` seconds."""
    end = time.monotonic() + latency
    while True:
        for folder in (file.parent.parent, file.parent):  # a network file system looks again only when a folder is listed
            list(folder.iterdir())
        try:
            return file.read_text()
        except (OSError, ValueError):
            if time.monotonic() > end:
                return None
        time.sleep(0.5)


def answer(place: Path, gpu: bool) -> None:
    """Write down what this compute node has, in a trial job whose folder is `place`."""
    facts = node.observe(gpu) | {"token": _read_once_there(place / TOKEN, 60)}
    try:
        slurm.call("scontrol", "show", "job", os.environ["SLURM_JOB_ID"])
    except UserError as error:
        facts["scontrol"] = str(error)
    # renamed when it is whole, so that nobody reads half of the answer
    (place / "partial").write_text(json.dumps(facts))
    (place / "partial").rename(place / ANSWER)
