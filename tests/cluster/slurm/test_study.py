"""Studies through the SLURM profile on a real cluster: the results of a local run, whatever happens to the jobs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml
from test_heads import digests, running, until, without_clock
from test_workflow import make_workspace

from mixvae.cluster import slurm as queues
from mixvae.files import read_json
from mixvae.study import load
from slurm.cluster import SHORT_DELAYS

BLOCK = {
    "dataset": "digits", "likelihood": "bernoulli", "latent": 3, "encoder": {"hidden": [12]}, "decoder": {"hidden": [12]},
    "training": {"epochs": 3, "warmup": 2, "batch_size": 200}, "evaluation": {"samples": 50, "probe_points": 200},
}  # fmt: skip
LONG = {"epochs": 100, "warmup": 2, "batch_size": 20, "patience": 100}
QUICK = ["--slurm-init-seconds-before-status-checks", "2", "--max-jobs-per-timespan", "100/1s", "--latency-wait", "5"]


def write_config(folder: Path, *blocks: dict, **keys) -> Path:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({"study": "small", "runs": [{**BLOCK, **block} for block in blocks], **keys}))
    return path


def command(config: Path, profile: str, *further: str) -> list[str]:
    return [sys.executable, "scripts/ablation.py", str(config), "--cores", "2", "--profile", profile, *further]


def run(line: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    variables = os.environ | {"PATH": os.defpath} | environment
    return subprocess.run(line, cwd=cwd, env=variables, capture_output=True, text=True, check=False)


SMALL = {"K": 1}, {"K": 2, "prior": {"name": "vamp", "components": 10}}


def locally(folder: Path, *blocks: dict, until: str = "all") -> Path:
    """Run a study, or its rules up to one, without SLURM and return its folder."""
    make_workspace(folder)
    result = run(command(write_config(folder, *blocks), "default", "--until", until), folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """The results of SMALL without SLURM."""
    return locally(tmp_path_factory.mktemp("small"), *SMALL)


def same_results(ours: Path, theirs: Path) -> None:
    assert without_clock(digests(ours / "results")) == without_clock(digests(theirs / "results"))
    tables = sorted(path.name for path in (theirs / "results/small/tables").glob("*.csv"))
    assert tables
    for name in tables:
        a, b = (pd.read_csv(folder / "results/small/tables" / name) for folder in (ours, theirs))
        pd.testing.assert_frame_equal(a, b, check_exact=True)


def test_a_study_with_gpu_jobs_equals_a_local_one(slurm, workspace, small):
    config = write_config(workspace, *SMALL, gpu=1)
    result = run(command(config, "slurm", *QUICK), workspace, MIXVAE_REHEARSAL="1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "digits: nats per test point" in result.stdout
    same_results(workspace, small)
    said = [path.read_text() for path in workspace.glob("results/runs/*vae*/logs/train.log")]
    given = {re.search(r"rehearsal: on the CPU in place of GPU (\S+)", text)[1] for text in said}
    assert given <= {"0", "1"}  # by SLURM
    jobs = {path: read_json(path)["slurm_job_id"] for path in workspace.glob("results/[dr]*/*/provenance/*.json")}
    here = [path.name for path, job in jobs.items() if job is None]
    assert here == ["download.json"]  # by the head, since compute nodes often have no internet
    assert len(set(jobs.values())) == len(jobs) == 10


def test_a_killed_head_leaves_jobs_that_the_next_one_ends_and_results_that_it_keeps(slurm, workspace, tmp_path_factory):
    block = {"K": [1, 2], "training": {**LONG, "epochs": 250, "patience": 250}}
    config = write_config(workspace, block, gpu=1)
    control = next(run for run, spec in load(config).runs.items() if spec.model == "constant")
    record = workspace / "results/runs" / control / "provenance/train.json"

    def only_the_control_is_fitted() -> bool:
        at_it = [job.comment for job in queues.jobs_of(workspace, "mixvae")]
        saving = len(list(workspace.glob("results/runs/*vae*/checkpoints"))) == 2
        return record.exists() and saving and f"rule_train_wildcards_{control}" not in at_it

    with running(command(config, "slurm", *QUICK), workspace, MIXVAE_REHEARSAL="1"):
        until(only_the_control_is_fitted)
    assert len(queues.jobs_of(workspace, "mixvae")) >= 2
    kept = record.read_bytes()
    result = run(command(config, "slurm", *QUICK), workspace, MIXVAE_REHEARSAL="1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"cancelling \d+ jobs that an earlier Snakemake has left", result.stdout)
    assert record.read_bytes() == kept
    logs = [path.read_text() for path in workspace.glob("results/runs/*vae*/logs/train.log")]
    assert sum("stopped: SIGTERM at epoch" in text and "going on from epoch" in text for text in logs) == 2
    same_results(workspace, locally(tmp_path_factory.mktemp("local"), block))


def test_jobs_that_slurm_forgets_do_not_hang_the_study(slurm, workspace, small):
    """Finished jobs leave the queue after two seconds here, and without accounting nothing knows of them."""
    shutil.copytree(small / "results", workspace / "results", symlinks=True)
    removed = next(workspace.glob("results/runs/*-K2-*/likelihood.json"))
    removed.unlink()
    slurm.up(**SHORT_DELAYS, MinJobAge=2)
    try:
        result = run(command(write_config(workspace, *SMALL), "slurm", *QUICK, "--forgotten-after", "0.3"), workspace)
    finally:
        slurm.up(**SHORT_DELAYS)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "SLURM had forgotten jobs that Snakemake waited for: starting Snakemake again" in result.stdout
    same_results(workspace, small)
    text = (removed.parent / "logs/evaluate.attempts.log").read_text()
    assert text.count("SLURM job") == 1  # what ended was taken over


def test_failed_runs_are_tried_again_then_listed_and_the_others_go_on(slurm, workspace, tmp_path_factory):
    good = {"K": 1, "training": LONG}
    config = write_config(workspace, good, {"K": 2, "training": {"epochs": 3, "warmup": 2, "learning_rate": 1e30}})
    # the first attempt is short of memory, and the second, held up, runs into its time limit without a warning
    limits = ["--set-resources", "train:mem_mb=300 if attempt == 1 else 2000", "train:runtime=1", "train:checkpoint_minutes=0"]
    # on a slow machine a later attempt meets the limit, too, and the next goes on from there
    limits += ["train:slurm_extra=--nice=0", "--retries", "4"]
    with running(command(config, "slurm", *QUICK, *limits), workspace) as head:
        until(lambda: (job := training_job(workspace, 0, K=1)) and log(workspace, 0, K=1).count("SLURM job") == 2 and job)
        trainer(workspace, 0, K=1).send_signal(signal.SIGSTOP)
        assert head.wait(600) == 1
    said = (workspace / "head.log").read_text()
    of_slurm = [path.read_text() for path in (workspace / ".snakemake/slurm_logs/rule_train").rglob("*.log")]
    assert sum("exceeded memory limit" in text for text in of_slurm) >= 1
    assert sum("DUE TO TIME LIMIT" in text for text in of_slurm) >= 1
    assert 3 <= log(workspace, 0, K=1).count("SLURM job") <= 5
    assert "going on from epoch" in log(workspace, 0, K=1)
    assert log(workspace, 0, K=2).count("SLURM job") == 5
    failed = pd.read_csv(workspace / "results/small/failures.csv")
    assert failed.rule.tolist() == ["train"]
    assert failed.run[0] == run_of(workspace, 0, K=2)
    assert failed.log[0].startswith("attempt 5: ")
    assert "epoch 0, step 1 of 13: train_reconstruction is nan; training diverged" in failed.log[0]
    assert failed.run[0] in said
    assert "missing" in (workspace / "results/small/tables/ablation_digits.md").read_text()
    alone = locally(tmp_path_factory.mktemp("local"), good)
    ours, theirs = (without_clock(digests(folder / "results/runs" / run_of(alone, 0, K=1))) for folder in (workspace, alone))
    assert ours == theirs


def training_job(folder: Path, seed: int, K: int = 2) -> queues.SlurmJob | None:
    """The job that trains a run, once the run has saved its state."""
    run = run_of(folder, seed, K)
    for job in queues.jobs_of(folder, "mixvae"):
        if job.state == "RUNNING" and job.comment == f"rule_train_wildcards_{run}":
            return job if list((folder / "results/runs" / run / "checkpoints").glob("[!.]*.safetensors")) else None
    return None


def trainer(folder: Path, seed: int, K: int = 2) -> psutil.Process:
    """The process that trains a run."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        if (
            process.info["cwd"] == str(folder)
            and words[1:2] == ["scripts/train.py"]
            and run_of(folder, seed, K) in " ".join(words)
        ):
            return process
    raise AssertionError(f"seed {seed} is not training")


def run_of(folder: Path, seed: int, K: int = 2) -> str:
    runs = load(folder / "small.yaml").runs.items()
    return next(run for run, spec in runs if (spec.model, spec.seed, spec.K) == ("vae", seed, K))


def log(folder: Path, seed: int, K: int = 2) -> str:
    """What every attempt to train a run has said."""
    path = folder / "results/runs" / run_of(folder, seed, K) / "logs/train.attempts.log"
    return path.read_text() if path.exists() else ""


def test_training_survives_requeue_warning_kill_and_a_dead_node(slurm, workspace, tmp_path_factory):
    """Jobs of two minutes that are warned 50 s before their end, or up to a minute earlier, as SLURM looks once a minute."""
    block = {"K": 2, "seed": [0, 1, 2], "training": LONG}
    config = write_config(workspace, block)
    limits = ["--set-resources", "train:runtime=2", "train:checkpoint_minutes=0", "train:slurm_extra=--signal=USR1@50"]
    with running(command(config, "slurm", *QUICK, "--retries", "3", *limits, "--until", "train"), workspace) as head:
        until(lambda: training_job(workspace, 2))
        trainer(workspace, 2).send_signal(signal.SIGSTOP)  # until it is warned
        until(lambda: training_job(workspace, 0))
        subprocess.run(["scontrol", "requeue", training_job(workspace, 0).id], check=True)
        until(lambda: training_job(workspace, 1))
        trainer(workspace, 1).kill()
        until(lambda: "going on from epoch" in log(workspace, 2), 240)
        slurm.kill_slurmd(with_jobs=True)
        slurm.wait_for_node("down*", 90)
        slurm.start_slurmd()
        assert head.wait(400) == 0, (workspace / "head.log").read_text()
    assert "stopped: SIGTERM at epoch" in log(workspace, 0)
    assert "killed (SIGKILL)" in log(workspace, 1)
    assert re.search(r"stopped: SIGUSR1 at epoch .*\njob \d+ is requeued", log(workspace, 2))
    assert log(workspace, 2).count("SLURM job") >= 3
    assert [log(workspace, seed).count("going on from epoch") >= times for seed, times in enumerate((1, 1, 2))] == [True] * 3
    alone = locally(tmp_path_factory.mktemp("local"), block, until="train")
    assert without_clock(digests(workspace / "results")) == without_clock(digests(alone / "results"))
