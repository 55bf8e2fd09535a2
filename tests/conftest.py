"""Fixtures for all tests: prepared data, a workspace in which Snakemake may write, and one finished study."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.project import make_workspace
from support.specs import COLOURS, colours
from support.studies import copy_results, copy_study, make_long_study, make_once, make_small_study

from mixvae.data import load_raw
from mixvae.data.fetch import fetch
from mixvae.data.prepared import Prepared, prepare
from mixvae.study import catalogue

torch.set_num_threads(1)

SLOW = {"shared", "workspace", "browser", "slurm"}
"""Fixtures that only slow tests ask for."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests."""
    for item in items:
        if SLOW & set(item.fixturenames):
            item.add_marker("slow")


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


@pytest.fixture
def workspace(tmp_path) -> Path:
    """A folder that looks like the project's root, with results of its own."""
    make_workspace(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Return a function that fills a folder once for all processes of pytest-xdist; nobody may change it afterwards."""
    base = tmp_path_factory.getbasetemp()
    together = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return lambda name, make: make_once(together / name, make)


@pytest.fixture(scope="session")
def small_study(shared) -> Path:
    """A folder with a finished study of two K and two seeds, not to be changed."""
    return shared("small_study", make_small_study)


@pytest.fixture(scope="session")
def long_study(small_study, shared) -> Path:
    """A folder with the trained and measured runs of LONG, and more seeds of its K = 2, not to be changed."""
    return shared("long_study", lambda folder: make_long_study(folder, small_study / "results/datasets"))


@pytest.fixture
def results(small_study, tmp_path) -> Path:
    """A copy of the small study's results, to be changed."""
    return copy_results(small_study, tmp_path)


@pytest.fixture
def study_copy(small_study, tmp_path) -> Path:
    """A copy of the small study with its config and Snakemake's memory, to be changed."""
    return copy_study(small_study, tmp_path)


@pytest.fixture
def prepared_workspace(small_study, workspace) -> Path:
    """A workspace in which the digits are prepared already."""
    copy_study(small_study / "results/datasets", workspace / "results/datasets")
    return workspace
