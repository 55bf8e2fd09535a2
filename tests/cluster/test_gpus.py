"""Several runs sharing the GPUs of a node, rehearsed where there is none."""

import os
import re
import subprocess
import sys
from collections import Counter

import pytest
import torch
from support.project import ROOT
from support.studies import BLOCK, ablation, finish, write_config

from mixvae.cluster import node
from mixvae.errors import UserError
from mixvae.fitting import devices, gpus

CLAIM = "import sys\nfrom mixvae.fitting import gpus\nprint(gpus.claim(gpus.visible()), flush=True)\nsys.stdin.read()"


@pytest.fixture
def claims(tmp_path):
    """Return a function that starts a process which claims a GPU until it is ended, and gives it and the GPU's index."""
    started = []

    def claim(visible: str = "0,1"):
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": visible, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT / "src")}
        command = [sys.executable, "-c", CLAIM]
        child = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(child)
        return child, int(child.stdout.readline())

    yield claim
    for child in started:
        child.kill()
        child.wait()


def test_processes_are_spread_evenly_and_a_killed_one_makes_room(claims):
    children = [claims() for _ in range(6)]
    assert Counter(index for _, index in children) == {0: 3, 1: 3}
    killed, freed = next((child, index) for child, index in children if index == 1)
    killed.kill()
    killed.wait()
    assert claims()[1] == freed
    assert Counter(claims()[1] for _ in range(2)) == {0: 1, 1: 1}


def test_gpus_are_told_apart_by_name_and_not_by_place(claims):
    """One job sees GPUs 2 and 3 as its first and second, another one 3 alone."""
    assert claims("2,3")[1] == 0
    assert claims("3")[1] == 0
    assert claims("2,3")[1] == 0 != claims("2,3")[1]


def test_a_gpu_that_torch_does_not_see_is_one_line(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=r"^gpu: torch .* sees no GPU here \(CUDA_VISIBLE_DEVICES is 0\); set gpu: 0"):
        devices.torch_device(1, 1)
    assert devices.torch_device(0, 1).type == "cpu"


def test_a_study_on_a_node_with_two_gpus(prepared_workspace, tmp_path):
    """The gpu-node profile: local jobs, at most so many at a time, spread over both."""
    config = write_config(prepared_workspace, BLOCK, gpu=1)
    (tmp_path / "locks").mkdir()
    environment = {"CUDA_VISIBLE_DEVICES": "0,1", gpus.REHEARSAL: "1", "TMPDIR": str(tmp_path / "locks")}
    finish(
        ablation(config, "--profile", "gpu-node", "--resources", "gpu=2", "--until", "evaluate"),
        prepared_workspace,
        **environment,
    )
    logs = [path for path in prepared_workspace.glob("results/runs/*vae*/**/logs/*.log") if path.stem in ("train", "evaluate")]
    used = Counter(re.search(r"in place of GPU (\d)", path.read_text())[1] for path in logs)
    assert used.total() == 4
    assert set(used) == {"0", "1"}


def test_the_multi_process_service_runs_while_its_process_does(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert not gpus.mps_runs()
    (tmp_path / "nvidia-cuda-mps-control.pid").write_text("")
    assert not gpus.mps_runs()
    sleeper = subprocess.Popen(["sleep", "60"])
    (tmp_path / "nvidia-cuda-mps-control.pid").write_text(f"{sleeper.pid}\n")
    assert gpus.mps_runs()
    sleeper.kill()
    sleeper.wait()
    assert not gpus.mps_runs()


@pytest.mark.parametrize(
    ("facts", "runs", "found"),
    [
        ({"device": "H100", "devices": 1, "mps": False}, 8, [("warning", "8 runs at a time take turns on its GPU; start")]),
        ({"device": "H100", "devices": 2, "mps": True}, 8, [("ok", "8 runs at a time compute together on its 2 GPUs")]),
        ({"device": "H100", "devices": 2, "mps": False}, 2, []),
        ({}, 8, []),
    ],
)
def test_runs_that_share_a_gpu(facts, runs, found):
    said = list(node.sharing({"node": "n1", **facts}, runs))
    assert len(said) == len(found)
    for (level, text), (expected, part) in zip(said, found, strict=True):
        assert level == expected
        assert part in text


def test_float32_is_not_rounded_to_tf32_nor_summed_in_any_order(monkeypatch):
    """As convolutions on a GPU would be by default, and a likelihood with them."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    devices.torch_device(0, torch.get_num_threads())
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
