"""Studies through the SLURM profile on a real cluster: the results of a local run, whatever happens to the jobs."""

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pandas as pd
import psutil
import pytest
from cluster import SHORT_DELAYS
from support.project import ROOT
from support.studies import (
    BLOCK,
    LONG,
    MEASURED,
    ablation,
    copy_results,
    copy_study,
    digests,
    finish,
    running,
    until,
    without_clock,
    write_config,
)

from mixvae.cluster import slurm as queues
from mixvae.files import read_json
from mixvae.study import load

QUICK = ["--profile", "slurm", "--slurm-init-seconds-before-status-checks", "2",
         "--max-jobs-per-timespan", "100/1s", "--latency-wait", "5"]  # fmt: skip
IMPATIENT = {"PYTHONPATH": f"{Path(__file__).parent / 'impatient'}:{ROOT / 'src'}"}
"""With which the executor asks SLURM for its jobs every two seconds, and not less and less often."""


@pytest.fixture(scope="module")
def small(small_study, shared) -> Path:
    """The results of BLOCK without SLURM."""

    def make(folder: Path) -> None:
        copy_study(small_study, folder)
        finish(ablation(write_config(folder, BLOCK)), folder)

    return shared("small_of_one_seed", make)


def results_of(folder: Path) -> dict[str, str]:
    return without_clock(digests(folder / "results/runs"))


def test_a_study_with_gpu_jobs_equals_a_local_one(slurm, workspace, small):
    config = write_config(workspace, BLOCK, gpu=1)
    result = finish(ablation(config, *QUICK), workspace, MIXVAE_REHEARSAL="1", **IMPATIENT)
    assert "digits: nats per test point" in result.stdout
    same_results(workspace, small)
    said = [path.read_text() for path in workspace.glob("results/runs/*vae*/logs/train.log")]
    given = {re.search(r"rehearsal: on the CPU in place of GPU (\S+)", text)[1] for text in said}
    assert given <= {"0", "1"}  # by SLURM
    jobs = {path: read_json(path)["slurm_job_id"] for path in workspace.glob("results/[dr]*/*/**/provenance/*.json")}
    here = [path.name for path, job in jobs.items() if job is None]
    assert here == ["download.json"]  # by the head, since compute nodes often have no internet
    assert len(set(jobs.values())) == len(jobs) == 10


def same_results(ours: Path, theirs: Path) -> None:
    """Assert that the study's runs and tables are the same; the other folder may have further runs."""
    here, there = results_of(ours), results_of(theirs)
    assert here
    assert here == {name: there[name] for name in here}
    tables = sorted(path.name for path in (theirs / "results/small/tables").glob("*.csv"))
    assert tables
    for name in tables:
        a, b = (pd.read_csv(folder / "results/small/tables" / name) for folder in (ours, theirs))
        pd.testing.assert_frame_equal(a, b, check_exact=True)


def test_a_killed_head_leaves_jobs_that_the_next_one_ends_and_results_that_it_keeps(slurm, prepared_workspace, long_study):
    folder = prepared_workspace
    config = write_config(folder, LONG, gpu=1)
    command = ablation(config, *QUICK, "--set-resources", "train:checkpoint_minutes=0", *MEASURED)
    control = next(run for run, spec in load(config).runs.items() if spec.model == "constant")
    record = folder / "results/runs" / control / "provenance/train.json"

    def only_the_control_is_fitted() -> bool:
        at_it = [job.comment for job in queues.jobs_of(folder, "mixvae")]
        saving = len(list(folder.glob("results/runs/*vae*/checkpoints"))) == 2
        return record.exists() and saving and f"rule_train_wildcards_{control}" not in at_it

    with running(command, folder, MIXVAE_REHEARSAL="1", **IMPATIENT):
        for K in (1, 2):  # held up, so that they are still at it when the next head comes
            until(lambda K=K: training_job(folder, 0, K))
            trainer(folder, 0, K).send_signal(signal.SIGSTOP)
        until(only_the_control_is_fitted)
    assert len(queues.jobs_of(folder, "mixvae")) >= 2
    kept = record.read_bytes()
    result = finish(command, folder, MIXVAE_REHEARSAL="1", **IMPATIENT)
    assert re.search(r"cancelling \d+ jobs that an earlier Snakemake has left", result.stdout)
    assert record.read_bytes() == kept
    logs = [path.read_text() for path in folder.glob("results/runs/*vae*/logs/train.log")]
    assert sum("stopped: SIGTERM at epoch" in text and "going on from epoch" in text for text in logs) == 2
    ours, theirs = results_of(folder), results_of(long_study)
    assert len({Path(name).parts[0] for name in ours}) == 3
    assert ours == {name: theirs[name] for name in ours}


def test_jobs_that_slurm_forgets_do_not_hang_the_study(slurm, workspace, small):
    """Finished jobs leave the queue after two seconds here, and without accounting nothing knows of them."""
    copy_results(small, workspace)
    removed = next(workspace.glob("results/runs/*-K2-*-s0-*/measured/*/likelihood.json"))
    removed.unlink()
    slurm.up(**SHORT_DELAYS, MinJobAge=2)
    try:
        result = finish(ablation(write_config(workspace, BLOCK), *QUICK, "--forgotten-after", "0.3"), workspace)
    finally:
        slurm.up(**SHORT_DELAYS)
    assert "SLURM had forgotten jobs that Snakemake waited for: starting Snakemake again" in result.stdout
    same_results(workspace, small)
    text = (removed.parent / "logs/evaluate.attempts.log").read_text()
    assert text.count("SLURM job") == 1  # what ended was taken over


def test_an_own_part_is_executed_by_its_jobs_but_by_none_that_only_reads_the_config(slurm, prepared_workspace):
    folder = prepared_workspace
    shutil.copy(ROOT / "docs/examples/student_prior.py", folder)
    config = write_config(folder, {**BLOCK, "K": 1, "prior": {"path": "student_prior.py"}})
    result = finish(ablation(config, *QUICK, "--slurm-keep-successful-logs", *MEASURED), folder, **IMPATIENT)
    assert (result.stdout + result.stderr).count("student_prior.py: executed, to learn what it is") == 1
    logs = [path.read_text() for path in folder.glob(".snakemake/slurm_logs/*/*/*.log")]
    assert len(logs) >= 5  # two trainings and what measures them
    assert not [text for text in logs if "executed, to learn" in text]
    (run,) = folder.glob("results/runs/digits-vae-K1-student_prior-*")
    assert [path.name.rsplit("-", 1)[0] for path in run.glob("*.py")] == ["student_prior"]
    assert list(run.glob("measured/*/likelihood.json"))


def test_failed_runs_are_tried_again_then_listed_and_the_others_go_on(slurm, prepared_workspace, long_study):
    folder = prepared_workspace
    good, diverging = {**LONG, "K": 1}, {**BLOCK, "K": 2, "training": {"epochs": 3, "warmup": 2, "learning_rate": 1e30}}
    config = write_config(folder, good, diverging)
    # the first attempt is short of memory, and the second, held up, runs into its time limit without a warning
    limits = ["--set-resources", "train:mem_mb=300 if attempt == 1 else 2000", "train:runtime=1 if attempt < 3 else 10"]
    limits += ["train:checkpoint_minutes=0", "train:slurm_extra=--nice=0", "--retries", "4"]
    with running(ablation(config, *QUICK, *limits), folder, **IMPATIENT) as head:
        until(lambda: (job := training_job(folder, 0, K=1)) and log(folder, 0, K=1).count("SLURM job") == 2 and job)
        trainer(folder, 0, K=1).send_signal(signal.SIGSTOP)
        assert head.wait(600) == 1
    said = (folder / "head.log").read_text()
    of_slurm = [path.read_text() for path in (folder / ".snakemake/slurm_logs/rule_train").rglob("*.log")]
    assert sum("exceeded memory limit" in text for text in of_slurm) >= 1
    assert sum("DUE TO TIME LIMIT" in text for text in of_slurm) >= 1
    assert log(folder, 0, K=1).count("SLURM job") == 3
    assert "going on from epoch" in log(folder, 0, K=1)
    assert log(folder, 0, K=2).count("SLURM job") == 5
    failed = pd.read_csv(folder / "results/small/failures.csv")
    assert failed.rule.tolist() == ["train"]
    assert failed.run[0] == run_of(folder, 0, K=2)
    assert failed.log[0].startswith("attempt 5: ")
    assert "epoch 0, step 1 of 13: train_reconstruction is nan; training diverged" in failed.log[0]
    assert failed.run[0] in said
    assert "missing" in (folder / "results/small/tables/ablation_digits.md").read_text()
    done = run_of(folder, 0, K=1)
    ours, theirs = ({name: digest for name, digest in results_of(of).items() if done in name} for of in (folder, long_study))
    assert ours == theirs != {}


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


def test_training_survives_requeue_warning_kill_and_a_dead_node(slurm, prepared_workspace, long_study):
    """Jobs of two minutes that are warned 50 s before their end, or up to a minute earlier, as SLURM looks once a minute."""
    folder = prepared_workspace
    config = write_config(folder, {**LONG, "K": 2, "seed": [0, 1, 2]})
    limits = ["--set-resources", "train:runtime=2", "train:checkpoint_minutes=0", "train:slurm_extra=--signal=USR1@50"]
    with running(ablation(config, *QUICK, "--retries", "3", *limits, "--until", "train"), folder, **IMPATIENT) as head:
        until(lambda: training_job(folder, 2))
        trainer(folder, 2).send_signal(signal.SIGSTOP)  # until it is warned
        until(lambda: training_job(folder, 0))
        subprocess.run(["scontrol", "requeue", training_job(folder, 0).id], check=True)
        until(lambda: training_job(folder, 1))
        trainer(folder, 1).kill()
        until(lambda: "going on from epoch" in log(folder, 2), 240)
        slurm.kill_slurmd(with_jobs=True)
        slurm.wait_for_node("down*", 90)
        slurm.start_slurmd()
        assert head.wait(900) == 0, (folder / "head.log").read_text()
    assert "stopped: SIGTERM at epoch" in log(folder, 0)
    assert "killed (SIGKILL)" in log(folder, 1)
    assert re.search(r"stopped: SIGUSR1 at epoch .*\njob \d+ is requeued", log(folder, 2))
    assert log(folder, 2).count("SLURM job") >= 3
    assert [log(folder, seed).count("going on from epoch") >= times for seed, times in enumerate((1, 1, 2))] == [True] * 3
    ours, theirs = results_of(folder), results_of(long_study)
    assert len({Path(name).parent for name in ours}) == 4
    assert ours == {name: theirs[name] for name in ours}
