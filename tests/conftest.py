"""Shared by all tests: small specs, prepared data, and a workspace in which Snakemake may write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mixvae.data import load_raw
from mixvae.data.arrays import Arrays
from mixvae.data.fetch import fetch
from mixvae.data.prepared import Prepared, prepare
from mixvae.study import AnyRun, DatasetInfo, catalogue, parse_run

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("workflow", "scripts", "src", "config", "envs", "pyproject.toml")

torch.set_num_threads(1)

DENSE = {"latent": 3, "encoder": {"hidden": [12]}, "decoder": {"hidden": [12]}}
SMALL = {
    "digits": {"likelihood": "bernoulli", **DENSE},
    "toy1d": {"likelihood": "gaussian", **DENSE},
    "colours": {"likelihood": "gaussian", **DENSE},
    "pbmc68k_reduced": {
        "likelihood": "zinb",
        "latent": 3,
        "encoder": {"hidden": [8], "activation": "relu", "dropout": 0.1},
        "decoder": {"hidden": [8], "activation": "relu"},
    },
}


COLOURS = DatasetInfo(
    title="Rectangles of one colour on a ground of another",
    kind="colour_image",
    shape=(3, 8, 8),
    levels=255,
    classes=2,
    splits={"train": 240, "valid": 60, "test": 60},
    files={},
    licence="none",
    citation="none",
)


def colours() -> Arrays:
    """Draw a colour data set small enough for convolutions; the label says whether the rectangle is red or blue."""
    rng, n = np.random.default_rng(0), sum(COLOURS.splits.model_dump().values())
    x, y = rng.integers(90, 110, (n, 3, 8, 8)), rng.integers(0, 2, n)
    for image, label, (top, left) in zip(x, y, rng.integers(0, 5, (n, 2)), strict=True):
        image[2 * label, top : top + 4, left : left + 4] += 120
    return Arrays(x.astype(np.uint8), y, ["red", "blue"])


def small_spec(dataset: str = "digits", **changes) -> AnyRun:
    """A run that trains in a second."""
    base = {"dataset": dataset, "model": "vae", "K": 2, "training": {"epochs": 3, "warmup": 2, "batch_size": 200}}
    return parse_run({**base, "evaluation": {"samples": 50}, **SMALL[dataset], **changes})


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Return a function that gives an embedded data set, prepared once."""
    made: dict[str, Prepared] = {}

    def get(name: str) -> Prepared:
        if name == "colours" and name not in made:
            made[name] = prepare(name, COLOURS, colours())
        if name not in made:
            raw = tmp_path_factory.mktemp(name)
            fetch(name, catalogue()[name], raw, None)
            made[name] = prepare(name, catalogue()[name], load_raw(name, raw))
        return made[name]

    return get


def points(data: Prepared, part: str = "test", n: int | None = None) -> torch.Tensor:
    """Return the first n points of a part as an evaluation sees them, (n, D): grey images binarised."""
    return torch.from_numpy(data.points(part, data.meta["kind"] == "grey_image")[:n])


@pytest.fixture
def workspace(tmp_path) -> Path:
    """A folder that looks like the project's root, with results of its own."""
    for name in LINKED:
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "Snakefile").write_bytes((ROOT / "Snakefile").read_bytes())
    return tmp_path


@pytest.fixture(scope="session")
def small_study(tmp_path_factory) -> Path:
    """A folder with a finished study of two K and two seeds, not to be changed."""
    from test_heads import BLOCK, command, run
    from test_workflow import make_workspace

    folder = tmp_path_factory.mktemp("small_study")
    make_workspace(folder)
    (folder / "small.yaml").write_text(yaml.safe_dump({"study": "small", "runs": [{**BLOCK, "seed": [0, 1]}]}))
    result = run(command(folder / "small.yaml"), folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def run_script(name: str, *arguments: object, cwd: Path, **options) -> subprocess.CompletedProcess:
    """Run scripts/<name>.py as a user would and return what it printed."""
    command = [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, **options)
