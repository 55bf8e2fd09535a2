"""No file from a stranger runs anything: a bomb in every place from which weights, states, arrays or configs are read."""

import io
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support.project import complaint, run_here, run_script

from mixvae.errors import UserError
from mixvae.files import read_json, sha256, write_json
from mixvae.fitting.checkpoint import Checkpoint
from mixvae.interruption import StopRequest
from mixvae.provenance import seal


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self):
        return Path.touch, (Path(self.mark),)


def pickled(bomb: Bomb) -> bytes:
    return pickle.dumps(bomb)


def torch_saved(bomb: Bomb) -> bytes:
    buffer = io.BytesIO()
    torch.save({"weights": bomb}, buffer)
    return buffer.getvalue()


def numpy_saved(bomb: Bomb) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x_train=np.array([bomb], dtype=object))
    return buffer.getvalue()


@pytest.fixture
def mark(tmp_path) -> Path:
    return tmp_path / "executed"


@pytest.mark.parametrize("write", [pickled, torch_saved, numpy_saved])
def test_the_bombs_go_off_where_they_are_let(write, mark):
    """Else the tests below would prove nothing."""
    content = write(Bomb(mark))
    if write is pickled:
        pickle.loads(content)
    elif write is torch_saved:
        torch.load(io.BytesIO(content), weights_only=False)
    else:
        np.load(io.BytesIO(content), allow_pickle=True)["x_train"]
    assert mark.exists()


@pytest.fixture
def run(small_study, tmp_path) -> Path:
    """A finished run among copied results, which a stranger may have changed."""
    shutil.copytree(small_study / "results", tmp_path / "results")
    return next((tmp_path / "results/runs").glob("*-vae-K2-*"))


def vouch(run: Path, rule: str, file: str) -> None:
    """Make a rule's record agree with a changed file, so that no digest is in the way."""
    path = run / f"provenance/{rule}.json"
    facts = read_json(path)
    name = next(name for name in facts["outputs"] if Path(name).name == file)
    facts["outputs"][name] = sha256(run / file)
    write_json(path, facts | {"seal": seal(facts)})


@pytest.mark.parametrize("write", [pickled, torch_saved])
def test_weights_are_not_unpickled(run, mark, write):
    (run / "model.safetensors").write_bytes(write(Bomb(mark)))
    vouch(run, "train", "model.safetensors")
    data = run.parents[1] / "datasets/digits"
    result = run_script("evaluate", "--run", run, "--data", data, cwd=run.parents[2])
    assert "model.safetensors: not this run's weights" in complaint(result)
    assert not mark.exists()


def test_prepared_data_are_not_unpickled(run, mark):
    data = run.parents[1] / "datasets/digits"
    (data / "data.npz").write_bytes(numpy_saved(Bomb(mark)))
    write_json(data / "dataset.json", read_json(data / "dataset.json") | {"sha256": sha256(data / "data.npz")})
    result = run_script(
        "train", "--spec", (run / "spec.json").read_text(), "--data", data, "--run", run.parent / "again", cwd=run.parents[2]
    )
    assert result.returncode != 0
    assert not mark.exists()


@pytest.mark.parametrize("write", [pickled, torch_saved])
def test_a_state_to_go_on_from_is_not_unpickled(tmp_path, mark, write, capfd):
    checkpoint = Checkpoint(tmp_path, "this", 1e9, StopRequest(), {})
    checkpoint.folder.mkdir()
    checkpoint.current.write_bytes(write(Bomb(mark)))
    assert checkpoint.load() is None
    assert "training starts anew" in capfd.readouterr().err
    assert not mark.exists()


def test_a_config_runs_nothing(tmp_path, mark):
    path = tmp_path / "hostile.yaml"
    path.write_text(f"study: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{mark}']]\n")
    for script in ("check", "plan", "audit"):
        result = run_here(script, path, cwd=tmp_path)
        assert "could not determine a constructor" in complaint(result)
    assert not mark.exists()


def test_own_data_are_not_unpickled(tmp_path, mark):
    from mixvae.study.own_data import resolve

    path = tmp_path / "images.npz"
    path.write_bytes(numpy_saved(Bomb(mark)))
    with pytest.raises(UserError, match="pickled"):
        resolve(str(path), None, tmp_path / "cache.json")
    assert not mark.exists()
