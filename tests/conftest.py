"""Shared by all tests: small specs, prepared data, and a workspace in which Snakemake may write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mixvae.data import load_raw
from mixvae.data.fetch import fetch
from mixvae.data.prepared import Prepared, prepare
from mixvae.spec import MixtureVAE, catalogue, parse_run

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("workflow", "scripts", "src", "config", "envs", "pyproject.toml")

torch.set_num_threads(1)

SMALL = {
    "digits": {"likelihood": "bernoulli", "latent": 3, "encoder": {"hidden": [12]}, "decoder": {"hidden": [12]}},
    "pbmc68k_reduced": {
        "likelihood": "zinb",
        "latent": 3,
        "encoder": {"hidden": [8], "activation": "relu", "dropout": 0.1},
        "decoder": {"hidden": [8], "activation": "relu"},
    },
}


def small_spec(dataset: str = "digits", **changes) -> MixtureVAE:
    """A run that trains in a second."""
    base = {"dataset": dataset, "model": "vae", "K": 2, "training": {"epochs": 3, "warmup": 2, "batch_size": 200}}
    return parse_run({**base, "evaluation": {"samples": 50}, **SMALL[dataset], **changes})


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Return a function that gives an embedded data set, prepared once."""
    made: dict[str, Prepared] = {}

    def get(name: str) -> Prepared:
        if name not in made:
            raw = tmp_path_factory.mktemp(name)
            fetch(name, catalogue()[name], raw, None)
            made[name] = prepare(name, catalogue()[name], load_raw(name, raw))
        return made[name]

    return get


@pytest.fixture
def workspace(tmp_path) -> Path:
    """A folder that looks like the project's root, with results of its own."""
    for name in LINKED:
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "Snakefile").write_bytes((ROOT / "Snakefile").read_bytes())
    return tmp_path


def run_script(name: str, *arguments: object, cwd: Path, **options) -> subprocess.CompletedProcess:
    """Run scripts/<name>.py as a user would and return what it printed."""
    command = [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, **options)
