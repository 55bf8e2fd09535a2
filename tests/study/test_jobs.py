"""The list of jobs and files that everything but Snakemake goes by is Snakemake's own."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from mixvae.study import load
from mixvae.study.jobs import all_jobs

SMALL = {"latent": 3, "encoder": {"hidden": [8]}, "decoder": {"hidden": [8]}, "training": {"epochs": 2, "warmup": 1}}
STUDY = {
    "study": "tiny",
    "runs": [
        {"dataset": "digits", "likelihood": "bernoulli", "K": [1, 2], **SMALL},
        {"dataset": "digits", "model": "mvae", "K": 2, **SMALL},
        {"dataset": "ring", "model": "toy", "K": 2, "training": {"epochs": 2, "warmup": 1}},
    ],
}


def test_steps_are_the_jobs_of_snakemake(workspace):
    config = workspace / "tiny.yaml"
    config.write_text(yaml.safe_dump(STUDY))
    expansion = load(config)
    ours, made = {}, set()
    for job in all_jobs("tiny", expansion.runs, expansion.datasets, Path("results")):
        assert made.issuperset(job.inputs)  # a job comes after those it waits for
        made.update(job.files)
        ours |= {file: set(job.inputs) for file in job.files}
    command = [sys.executable, "-m", "snakemake", "--configfile", str(config), "-n"]
    environment = os.environ | {"PATH": os.defpath}
    printed = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, check=True).stdout
    theirs: dict[Path, set[Path]] = {}
    read: set[Path] = set()
    for line in printed.splitlines():
        kind, _, names = line.strip().partition(": ")
        files = {Path(name) for name in names.split(", ")}
        if kind == "input":
            read = files
        elif kind == "output":
            theirs |= dict.fromkeys(files, read)
        elif kind.startswith("rule "):
            read = set()
    assert {file: names - {Path("config/published.csv")} for file, names in theirs.items()} == ours
    assert len(ours) > 60
