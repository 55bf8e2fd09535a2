"""Training that is cut off anywhere and goes on gives the bits of training that was not."""

import contextlib
import csv
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.project import ROOT
from support.specs import small_spec

from mixvae.data.prepared import save
from mixvae.files import sha256
from mixvae.fitting.checkpoint import FOLDER, Checkpoint, State, alone
from mixvae.fitting.runs import build_for
from mixvae.fitting.training import train
from mixvae.interruption import Interrupted, StopRequest

CPU = torch.device("cpu")
EPOCHS = {"epochs": 3, "warmup": 2, "batch_size": 200}
SPECS = {
    "flow and VampPrior": ("digits", {"prior": {"name": "vamp", "components": 10}, "flow": {"name": "iaf", "hidden": [8]}}),
    "dropout": ("pbmc68k_reduced", {}),
    "flips": ("colours", {"training": {**EPOCHS, "batch_size": 60, "flip": True}}),
    "Gumbel-softmax": ("digits", {"model": "cpvae", "K": 3}),
    "dHSIC": ("digits", {"model": "mvae", "likelihood": "gaussian", "K": 2}),
}


def store(folder: Path, stop: StopRequest | None = None, identity: str = "this") -> Checkpoint:
    return Checkpoint(folder, identity, 1e9, stop or StopRequest(), {"host": "here"})


class StopAfter(StopRequest):
    """A signal that comes after so many looks at it."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    @property
    def signal(self):
        self.looks -= 1
        return signal.SIGTERM if self.looks < 0 else None


def without_clock(history):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


@pytest.mark.parametrize("name", SPECS)
def test_stopped_after_any_step_and_resumed_gives_the_same_bits(prepared, tmp_path, name):
    dataset, changes = SPECS[name]
    spec = small_spec(dataset, **changes)
    data = prepared(dataset)
    whole = train(build_for(spec, data), data, spec, CPU)
    taken, interruptions = 0, 0
    while True:
        torch.manual_seed(interruptions)  # whatever the process did before must not matter
        taken += 1
        stopping = store(tmp_path, StopAfter(2 + taken))  # longer in every process
        try:
            again = train(build_for(spec, data), data, spec, CPU, stopping)
            break
        except Interrupted:
            interruptions += 1
    assert interruptions >= 2
    assert without_clock(again.history) == without_clock(whole.history)
    assert (again.best_epoch, again.stopped_by) == (whole.best_epoch, whole.stopped_by)
    assert again.weights.keys() == whole.weights.keys()
    assert all(torch.equal(again.weights[key], whole.weights[key]) for key in whole.weights)
    assert len(stopping.attempts) == interruptions + 1


@pytest.fixture(scope="module")
def digits(prepared, tmp_path_factory) -> Path:
    """The digits as rule prepare leaves them."""
    folder = tmp_path_factory.mktemp("data") / "digits"
    save(prepared("digits"), folder)
    return folder


SLOW = {"training": {"epochs": 6, "warmup": 3, "batch_size": 20, "patience": 6}, "K": 2}


def training_command(spec, data: Path, run: Path, *options: str) -> list[str]:
    return [sys.executable, str(ROOT / "scripts/train.py"), "--spec", spec.canonical(), "--data", str(data),
            "--run", str(run), *options]  # fmt: skip


def results(run: Path):
    """The bytes of everything that must not depend on how often training was cut off."""
    with (run / "history.csv").open() as file:
        history = without_clock(list(csv.DictReader(file)))
    return history, *(sha256(run / name) for name in ("model.safetensors", "training.json", "spec.json"))


@pytest.fixture(scope="module")
def uninterrupted(digits, tmp_path_factory):
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    result = subprocess.run(training_command(small_spec(**SLOW), digits, run), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert not (run / FOLDER).exists()
    return results(run)


def start(command: list[str], log: Path) -> subprocess.Popen:
    with log.open("a") as file:
        return subprocess.Popen(command, stdout=file, stderr=file)


def saved(run: Path) -> int:
    """The time of the newest checkpoint; one that is just being replaced has none."""
    newest = 0
    for path in (run / FOLDER).glob("[!.]*.safetensors"):
        with contextlib.suppress(FileNotFoundError):
            newest = max(newest, path.stat().st_mtime_ns)
    return newest


def test_killed_at_random_points_and_resumed_gives_the_same_bytes(digits, uninterrupted, tmp_path):
    run, log = tmp_path / "run", tmp_path / "log"
    chance, killed = random.Random(time.time_ns()), 0
    command = training_command(small_spec(**SLOW), digits, run, "--checkpoint-minutes", "0")  # after every step
    while True:
        child = start(command, log)
        before, deadline = saved(run), time.monotonic() + 600
        while child.poll() is None and saved(run) == before and killed < 4:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        if killed < 4:
            time.sleep(chance.uniform(0, 0.4))  # often in the middle of writing
            child.kill()
        if child.wait() == 0:
            break
        assert child.returncode == -signal.SIGKILL, log.read_text()
        killed += 1
    assert killed >= 3
    assert log.read_text().count("going on from epoch") >= 3
    assert results(run) == uninterrupted
    provenance = json.loads((run / "provenance/train.json").read_text())
    assert len(provenance["attempts"]) == killed + 1
    assert not (run / FOLDER).exists()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)])
def test_a_signal_saves_and_asks_to_be_started_again(digits, uninterrupted, tmp_path, signum, code):
    run, log = tmp_path / "run", tmp_path / "log"
    command = training_command(small_spec(**SLOW), digits, run)  # no checkpoint is due for ten minutes
    child = start(command, log)
    deadline = time.monotonic() + 300
    while not (run / FOLDER / ".lock").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signum)
    assert child.wait(300) == code, log.read_text()
    assert f"stopped: {signum.name} at epoch" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert saved(run)
    assert not (run / "model.safetensors").exists()
    assert start(command, log).wait(300) == 0
    assert "going on from epoch" in log.read_text()
    assert results(run) == uninterrupted


def test_a_state_outlives_a_change_to_the_report_but_not_to_a_distribution(digits, tmp_path, monkeypatch):
    """In a copy of the library, by the digest of what rule train imports."""
    for name in ("src", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "src"))
    run, log = tmp_path / "run", tmp_path / "log"
    command = training_command(small_spec(**SLOW), digits, run)
    command[1] = str(tmp_path / "scripts/train.py")
    said = []
    for changed in (None, "review/report/page.py", "distributions/priors.py"):
        if changed:
            with (tmp_path / "src/mixvae" / changed).open("a") as file:
                file.write("# one more sentence\n")
        for left in (log, run / FOLDER / ".lock"):
            left.unlink(missing_ok=True)
        child = start(command, log)
        deadline = time.monotonic() + 300
        while not (run / FOLDER / ".lock").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        child.send_signal(signal.SIGTERM)
        assert child.wait(300) == 75, log.read_text()
        said.append(log.read_text())
    first, after_the_report, after_the_prior = said
    assert "going on from epoch" not in first
    assert "going on from epoch" in after_the_report
    assert "of other code, data, versions or device; training starts anew" in after_the_prior


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut off":
        del content[len(content) // 2 :]
    elif how == "zeroed":
        content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    elif how == "emptied":
        content.clear()
    else:
        content[random.Random(how).randrange(len(content))] ^= 1 << random.Random(how).randrange(8)
    path.write_bytes(content)


def state(number: int) -> State:
    return State({"x": torch.full((50,), float(number)), "none": torch.empty(0)}, {"epoch": number})


@pytest.mark.parametrize("how", ["cut off", "zeroed", "emptied", *(f"bit {n}" for n in range(40))])
def test_a_damaged_checkpoint_is_never_read_and_the_one_before_is(tmp_path, capfd, how):
    kept = store(tmp_path)
    kept.save(state(1), "here")
    kept.save(state(2), "here")
    assert store(tmp_path).load().facts == {"epoch": 2}
    damage(kept.current, how)
    found = store(tmp_path).load()
    assert found.facts == {"epoch": 1}
    assert torch.equal(found.tensors["x"], state(1).tensors["x"])
    assert f"{kept.current.name}: damaged (" in capfd.readouterr().err
    # which is not pushed out by the next, should that be cut off
    kept.next.mkdir()
    kept.save(state(3), "here")
    assert "no checkpoint could be written (Is a directory)" in capfd.readouterr().err
    assert store(tmp_path).load().facts == {"epoch": 1}
    damage(kept.previous, how)
    assert store(tmp_path).load() is None
    assert capfd.readouterr().err.endswith("no state is left; training starts anew\n")


def test_a_kill_between_the_two_renamings_leaves_the_state_before(tmp_path, monkeypatch):
    kept = store(tmp_path)
    kept.save(state(1), "here")
    replace = Path.replace

    def killed(self, target):
        if Path(target) == kept.current:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        kept.save(state(2), "here")
    assert store(tmp_path).load().facts == {"epoch": 1}


def test_a_state_of_other_code_or_data_is_not_continued(tmp_path, capfd):
    store(tmp_path, identity="old").save(state(1), "here")
    assert store(tmp_path, identity="new").load() is None
    assert "of other code, data, versions or device; training starts anew" in capfd.readouterr().err
    assert store(tmp_path, identity="old").load().facts == {"epoch": 1}


@pytest.mark.parametrize("log", ["a pipe", "/dev/full"])  # the log is often on the same disk
def test_a_full_disk_costs_the_checkpoint_and_not_the_training(digits, uninterrupted, tmp_path, log):
    run = tmp_path / "run"
    command = training_command(small_spec(**SLOW), digits, run, "--checkpoint-minutes", "0")
    weights = 25_000  # bytes: more than the results need, less than a checkpoint

    def limited(**options):
        limit = (weights, weights)
        return subprocess.run(
            command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit), check=False, **options
        )

    if log == "/dev/full":
        with Path(log).open("w") as full:
            result = limited(stdout=full, stderr=full)
    else:
        result = limited(capture_output=True, text=True)
        assert "no checkpoint could be written (File too large)" in result.stderr
    assert result.returncode == 0
    assert results(run) == uninterrupted


def test_a_signal_on_a_full_disk_says_that_nothing_was_saved(tmp_path, capfd):
    stop = StopRequest()
    stop.signal = signal.SIGUSR1
    kept = store(tmp_path, stop)
    kept.next.mkdir(parents=True)
    with pytest.raises(Interrupted, match="SIGUSR1 at here; its state could not be saved") as caught:
        kept.save(state(1), "here")
    assert not caught.value.saved


def test_a_full_disk_at_the_end_is_one_line_and_nothing_half_written(digits, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24k", "none", str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        run = disk / "run"
        result = subprocess.run(training_command(small_spec(), digits, run), capture_output=True, text=True, check=False)
        assert result.returncode == 1
        assert result.stderr.splitlines()[-1].endswith("No space left on device")
        assert "Traceback" not in result.stderr
        assert not [path for path in run.rglob(".*") if path.is_file() and path.name != ".lock"]
        assert not (run / "provenance/train.json").exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_run_is_trained_by_one_process_at_a_time(digits, uninterrupted, tmp_path):
    run, logs = tmp_path / "run", [tmp_path / "a", tmp_path / "b"]
    command = training_command(small_spec(**SLOW), digits, run)
    # both at once: one that is started when the first has begun may come when it has finished
    both = [start(command, log) for log in logs]
    assert [process.wait(120) for process in both] == [0, 0]
    (told,) = [log.read_text() for log in logs if "the other process has finished this run" in log.read_text()]
    assert "another process trains this run; waiting for its end" in told
    assert results(run) == uninterrupted


def test_file_systems_without_locks_do_not_stop_anything(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with alone(tmp_path, StopRequest()) as waited:
        assert not waited


def test_many_processes_and_one_lock(tmp_path):
    """Also when the one that has it removes it with its folder, as at the end of a training."""
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom mixvae.fitting.checkpoint import alone, discard\n"
        "from mixvae.interruption import StopRequest\nimport mixvae.fitting.checkpoint as c\nc.time.sleep = lambda _: None\n"
        "run = Path(sys.argv[1])\nfor _ in range(300):\n    with alone(run, StopRequest()):\n"
        "        os.mkdir(run / 'inside')\n        os.rmdir(run / 'inside')\n        discard(run)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    children = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [(child.communicate()[1].count("Error"), child.returncode) for child in children] == [(0, 0)] * 3


def test_only_a_saved_state_before_a_time_limit_is_requeued(tmp_path):
    scontrol = tmp_path / "bin/scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    code = (
        "import signal\nfrom mixvae.interruption import Interrupted, ask_for_requeue\n"
        "for signum in (signal.SIGUSR1, signal.SIGTERM):\n    for saved in (True, False):\n"
        "        ask_for_requeue(Interrupted('here', signum, saved))\n"
    )
    environment = os.environ | {"PATH": f"{scontrol.parent}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    environment["PYTHONPATH"] = str(ROOT / "src")
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert (tmp_path / "asked").read_text() == "requeue 7\n"
