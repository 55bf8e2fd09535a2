"""The command `make verify`: does a run's jobs again in a scratch folder, and compares the results with those on record."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mixvae.data.origin import verify_origin
from mixvae.errors import UserError, one_line
from mixvae.files import read_json
from mixvae.progress import say
from mixvae.provenance import ROOT
from mixvae.review import verification
from mixvae.study import Run
from mixvae.study.jobs import rules_of

RUNS = Path("results/runs")


def verify_run(name: str) -> None:
    """Train a run again and print how it compares: the same bytes, or within the spread of the seeds.

    Arguments:
        name: A run's id, its beginning, or results/runs/<run>.

    Raises UserError if the results are neither, or if the run on record cannot be trusted to begin with.
    """
    run = verification.find_run(name, RUNS)
    spec = verification.verified_spec(run)
    data = run.resolve().parent.parent / "datasets" / spec.dataset
    verification.verify_data(run, data)
    verify_origin(data, spec)
    say(f"{data}: its raw files are those published, and give these data")
    recorded = {rule: read_json(run / f"provenance/{rule}.json") for rule in rules_of(spec)}
    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        again = Path(scratch) / spec.id
        _train_again(spec, data, again, recorded)
        same = verification.same_files(run, again, spec)
        seeds = verification.siblings(run)
        judged, by = verification.judge(run, again, seeds)
        other = verification.differences(recorded["train"], read_json(again / "provenance/train.json"))

    print("\n".join(verification.table(judged)))
    print(f"expected: {by}")
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
    if outside := [row.metric for row in judged if not row.within]:
        raise UserError(f"{run}: trained again, {', '.join(outside)} not within the {by}")
    spread = "seed-to-seed spread" if len(seeds) > 1 else "uncertainty over test points (one seed has no spread)"
    print(f"{run}: not byte-identical, but within the {spread}")


def _train_again(spec: Run, data: Path, again: Path, recorded: Mapping[str, Mapping[str, Any]]) -> None:
    """Do the run's jobs again in the folder `again`, each on a GPU if it was done on one and this machine has one."""
    for rule in rules_of(spec):
        command = [sys.executable, ROOT / f"scripts/{rule}.py", "--data", data, "--run", again]
        if rule == "train":
            command += ["--spec", spec.canonical()]
        if recorded[rule].get("gpu"):
            command += ["--gpu", _gpu(recorded[rule]["device"])]
        say(f"{rule} again, in {again}")
        if code := subprocess.run([str(part) for part in command]).returncode:
            raise UserError(f"{spec.id}: {rule} again ended with exit code {code}; see its message above")


def _gpu(name: str) -> int:
    """Return 1 if torch sees a GPU, else 0, and say so."""
    if torch.cuda.is_available():
        return 1
    say(f"on record is a GPU ({one_line(name)}), but none is here: on the CPU instead")
    return 0
