"""What a study costs outside its numerical work: imports, start-up of every rule, reading the workflow, jobs with next to no work."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from mixvae.files import read_json

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("workflow", "scripts", "src", "config", "envs", "pyproject.toml")
PACKAGES = ("numpy", "torch", "pandas", "scipy.stats", "sklearn.svm", "anndata", "scanpy", "matplotlib.pyplot", "mixvae.study")
TIMES = 3
MANY = 10_000
"""Jobs of a large study, three for each run."""
BLOCK = {
    "dataset": "digits",
    "likelihood": "bernoulli",
    "K": [1, 2],
    "latent": 3,
    "encoder": {"hidden": [12]},
    "decoder": {"hidden": [12]},
    "training": {"epochs": 2, "warmup": 2, "batch_size": 500},
    "evaluation": {"samples": 25, "points": 20, "probe_points": 100},
}
"""Runs with next to no work."""


def seconds_of(command: list[str], cwd: Path, environment: dict[str, str] | None = None) -> float:
    """Return the seconds of a command that succeeds."""
    start = time.perf_counter()
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)}: {result.stdout}{result.stderr}")
    return time.perf_counter() - start


def several(command: list[str], cwd: Path) -> float:
    """Return the median seconds of a command, after one call that fills caches."""
    seconds_of(command, cwd)
    return statistics.median(seconds_of(command, cwd) for _ in range(TIMES))


def imports() -> dict[str, float]:
    """Return the seconds of a python process that imports one package, and of one that imports none."""
    lines = {"nothing": "pass"} | {name: f"import {name}" for name in PACKAGES}
    return {name: several([sys.executable, "-c", line], ROOT) for name, line in lines.items()}


def start_ups() -> dict[str, float]:
    """Return the seconds of every script until it has read its arguments."""
    scripts = sorted((ROOT / "scripts").glob("*.py"))
    return {path.stem: several([sys.executable, str(path), "--help"], ROOT) for path in scripts}


def workspace(folder: Path) -> Path:
    """Make a folder that looks like the project's root, with a study of two runs; return the study's config."""
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    (folder / "Snakefile").write_bytes((ROOT / "Snakefile").read_bytes())
    config = folder / "tiny.yaml"
    config.write_text(yaml.safe_dump({"study": "tiny", "runs": [BLOCK]}))
    return config


def workflow() -> dict[str, float]:
    """Return the seconds that Snakemake takes to plan, `-n`, the demo study and one of 10,000 jobs."""
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workspace(folder)
        wide = folder / "wide.yaml"
        wide.write_text(yaml.safe_dump({"study": "wide", "runs": [{**BLOCK, "K": 1, "seed": list(range(MANY // 3))}]}))
        return {
            "snakemake -n, demo": several(command, folder),
            f"snakemake -n, {MANY:,} jobs": seconds_of([*command, "--configfile", str(wide)], folder),
        }


def jobs() -> dict[str, Any]:
    """Return the seconds of a study of two runs with next to no work, of each rule's job, and what of a training is no training."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = workspace(folder)
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        command = [sys.executable, "-m", "snakemake", "--configfile", str(config), "--cores", "1", "--quiet"]
        total = seconds_of(command, folder, environment)
        again = seconds_of(command, folder, environment)
        rules: dict[str, list[float]] = {}
        for path in folder.glob("results/**/benchmarks/*.tsv"):
            header, values, *_ = (line.split("\t") for line in path.read_text().splitlines())
            rules.setdefault(path.stem, []).append(float(values[header.index("s")]))
        trained = [read_json(path)["train_seconds"] for path in folder.glob("results/runs/*-vae-*/provenance/train.json")]
    return {
        "study": total,
        "study, again": again,
        "rules": {rule: statistics.median(values) for rule, values in sorted(rules.items())},
        "jobs": sum(len(values) for values in rules.values()),
        "training loop": statistics.median(trained),
    }
