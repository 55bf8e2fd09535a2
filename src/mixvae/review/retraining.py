"""The command `make verify`: does a run's jobs again in a scratch folder, and compares the results with those on record."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mixvae.code import ROOT
from mixvae.data.origin import verify_origin
from mixvae.errors import UserError, one_line
from mixvae.files import canonical_json, read_json
from mixvae.progress import say
from mixvae.review import verification
from mixvae.study import Run
from mixvae.study.jobs import record_of, run_file

RUNS = Path("results/runs")


def verify_run(name: str) -> None:
    """Train a run again and print how it compares: the same bytes, or within the spread of the seeds.

    Arguments:
        name: A run's id, its beginning, or results/runs/<run>.

    Raises UserError if the results are neither, or if the run on record cannot be trusted to begin with.
    """
    run = verification.find_run(name, RUNS)
    jobs = verification.recorded_jobs(run)
    spec = jobs[0][1]
    data = run.resolve().parent.parent / "datasets" / spec.dataset
    verification.verify_data(run, data)
    verify_origin(data, spec)
    say(f"{data}: its raw files have the published checksums (own data: the recorded one), and give these data")
    outside: list[str] = []
    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        again = Path(scratch) / spec.id
        for name in spec.own_files:
            say(f"warning: {run / name} is executed: a part that the author of this run wrote")
        for rule, measured in jobs:
            _do_again(rule, measured, data, again, run, read_json(record_of(rule, measured, run)))
        same = verification.same_files(run, again, jobs)
        other = verification.differences(*(read_json(record_of("train", spec, folder)) for folder in (run, again)))
        for measured in [measured for rule, measured in jobs if rule == "evaluate"]:
            seeds = verification.siblings(run, measured)
            judged, by = verification.judge(*(run_file("likelihood.json", measured, folder) for folder in (run, again)), seeds)
            print(f"measured with {canonical_json(measured.measuring('evaluate'))}")
            print("\n".join(verification.table(judged)))
            print(f"expected: {by}")
            if far := [row.metric for row in judged if not row.within]:
                outside.append(f"{', '.join(far)} not within the {by}")

    for answer, text in ((True, "identical"), (False, "not identical")):
        if files := [file for file, found in same.items() if found == answer]:
            print(f"{text}: {', '.join(files)}")
    for line in other:
        print(f"differs: {line}")
    if all(same.values()):
        print(f"{run}: byte-identical")
        return
    if not other:
        say("warning: same code, packages and processor, yet other bytes")
    if outside:
        raise UserError(f"{run}: trained again, {'; '.join(outside)}")
    spread = "seed-to-seed spread" if len(seeds) > 1 else "uncertainty over test points (one seed has no spread)"
    print(f"{run}: not byte-identical, but within the {spread}")


def _do_again(rule: str, spec: Run, data: Path, again: Path, run: Path, recorded: Mapping[str, Any]) -> None:
    """Do a job of the run in the folder `again`, on a GPU if it was done on one and this machine has one."""
    command = [sys.executable, ROOT / f"scripts/{rule}.py", "--data", data, "--run", again]
    command += (
        ["--spec", spec.canonical(), "--parts", run]
        if rule == "train"
        else ["--settings", canonical_json(spec.measuring(rule))]
    )
    if recorded.get("gpu"):
        command += ["--gpu", _gpu(recorded["device"])]
    say(f"{rule} again, in {again}")
    if code := subprocess.run([str(part) for part in command]).returncode:
        raise UserError(f"{spec.id}: {rule} again ended with exit code {code}; see its message above")


def _gpu(name: str) -> int:
    """Return 1 if torch sees a GPU, else 0, and say so."""
    if torch.cuda.is_available():
        return 1
    say(f"on record is a GPU ({one_line(name)}), but none is here: on the CPU instead")
    return 0
