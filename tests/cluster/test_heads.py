"""One head process at a time; what a killed one left, what was copied and what a clock made look old is taken over."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from support.studies import (
    BLOCK,
    ENDLESS,
    LONG,
    MADE_BY_TRAINING,
    MEASURED,
    SMALL,
    ablation,
    call,
    command_line,
    copy_results,
    copy_study,
    digests,
    family_of,
    find,
    finish,
    jobs,
    running,
    snakemake,
    until,
    without_clock,
    write_config,
)

from mixvae.cluster import adoption, head
from mixvae.errors import UserError
from mixvae.files import sha256
from mixvae.study import load
from mixvae.study.jobs import all_jobs


def test_a_second_head_is_refused_however_the_two_were_started(prepared_workspace):
    workspace, config = prepared_workspace, write_config(prepared_workspace, ENDLESS)
    with running(ablation(config), workspace) as first:
        until(lambda: list(workspace.glob("results/runs/*/checkpoints")))
        child = next(process for process in family_of(first.pid) if process.ppid() == first.pid)
        for process in family_of(first.pid):
            if command_line(process).startswith("python scripts/train.py"):
                process.suspend()  # they have nothing more to do here
        second = call(ablation(config), workspace)
        assert second.returncode == 1
        assert f"error: another Snakemake works in this folder, process {child.pid} on " in second.stderr.splitlines()[-1]
        theirs = call(snakemake(config), workspace)
        assert theirs.returncode == 1
        # Snakemake's own complaint, which is of the lock or of the files that the first one is about to make
        assert re.search("--unlock|seem to be incomplete", theirs.stderr)
        # somebody believes Snakemake's advice
        assert call(snakemake(config, "--unlock"), workspace).returncode == 0
        ours = call(snakemake(config, "--rerun-incomplete"), workspace)
        assert ours.returncode == 1
        assert f"another Snakemake works in this folder, process {child.pid} on " in ours.stderr
        # the process that was called is killed, and its Snakemake lives on
        first.kill()
        first.wait()
        assert f"process {child.pid} on " in call(ablation(config), workspace).stderr
        for process in psutil.process_iter(["cmdline", "cwd"]):
            if process.info["cwd"] == str(workspace):
                process.kill()
    until(lambda: not [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(workspace)])
    with running(snakemake(config, "--rerun-incomplete"), workspace) as first:
        until(lambda: (workspace / head.RECORD).exists() and str(first.pid) in (workspace / head.RECORD).read_text())
        second = call(ablation(config), workspace)
        assert second.returncode == 1
        assert f"process {first.pid} on " in second.stderr


def test_a_head_on_another_host_is_not_taken_for_dead(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    head.RECORD.parent.mkdir()
    head.RECORD.write_text(json.dumps({"host": "login2", "pid": 7, "start": "2026-01-01T00:00:00+00:00"}))
    with pytest.raises(UserError, match=r"process 7 on login2, since 2026.* did not end by itself, or still works.*: rm "):
        head.take()
    result = call(ablation(write_config(workspace, BLOCK)), workspace)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: .snakemake/head.json: process 7 on login2")
    head.RECORD.unlink()
    assert head.take() is not None
    head.leave()
    assert head.RECORD.read_text() == ""


def test_without_locks_a_record_is_enough_to_refuse(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(37, "No locks available")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(head.fcntl, "flock", no_locks)
    assert head.take() is not None
    with pytest.raises(UserError, match=r"did not end by itself, or still works.*; look there, and if it is gone: rm "):
        head.take()
    head.leave()
    assert head.take() is not None
    head.leave()
    for odd in ("null", "5", "[1, 2]", "{"):
        head.RECORD.write_text(odd)
        with pytest.raises(UserError, match="process \\? on \\?"):
            head.take()


def test_a_closed_terminal_ends_the_study_and_it_goes_on_later(prepared_workspace):
    workspace, config = prepared_workspace, write_config(prepared_workspace, ENDLESS)
    # these tests may run under nohup themselves, and ignoring SIGHUP is inherited
    with running(["env", "--default-signal=HUP", *ablation(config)], workspace) as first:
        until(lambda: len(list(workspace.glob("results/runs/*vae*/checkpoints"))) == 2)
        first.send_signal(signal.SIGHUP)
        assert first.wait(60) == 130
        assert "interrupted; the same command goes on from here" in (workspace / "head.log").read_text()
    assert not [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(workspace)]
    assert head.RECORD.name == "head.json"
    assert (workspace / head.RECORD).read_text() == ""
    assert len(list(workspace.glob("results/runs/*/checkpoints/[!.]*.safetensors"))) == 2


def go_on_once_waited_for(process: psutil.Process, log: Path) -> None:
    until(lambda: log.exists() and "another process trains this run; waiting for its end" in log.read_text())
    process.send_signal(signal.SIGCONT)


def test_jobs_of_a_killed_head_are_taken_over_whether_they_have_ended_or_not(prepared_workspace, long_study):
    workspace = prepared_workspace
    command = ablation(write_config(workspace, LONG), *MEASURED)
    with running(command, workspace) as first:
        until(lambda: len(list(workspace.glob("results/runs/*vae*/checkpoints"))) == 2)
        wrappers = [process for process in family_of(first.pid) if command_line(process).startswith("bash workflow/logged.sh")]
        # a trainer's own children, such as git, show its command line until they have become what they run
        trainers = [process for wrapper in wrappers for process in wrapper.children()]
        for process in family_of(first.pid):
            if "snakemake" in " ".join(command_line(process).split()[:4]) or process.pid == first.pid:
                process.kill()
        first.wait()
        assert len(trainers) == 2
        # one ends while nobody looks, the other is still at it when the study is called again
        stopped = trainers[0]
        stopped.send_signal(signal.SIGSTOP)
        done = [path for path in workspace.glob("results/runs/*vae*") if path.name in command_line(trainers[1])]
        until(lambda: (done[0] / "provenance/train.json").exists())
        kept = {name: (done[0] / name).stat().st_mtime_ns for name in MADE_BY_TRAINING}
        waiting = next(path for path in workspace.glob("results/runs/*vae*/logs/train.log") if path.parents[1] != done[0])
        threading.Thread(target=go_on_once_waited_for, args=(stopped, waiting)).start()
        result = finish(command, workspace)
    assert "releasing its lock" in result.stdout
    assert "finished jobs taken over" in result.stdout
    assert kept == {name: (done[0] / name).stat().st_mtime_ns for name in MADE_BY_TRAINING}
    ours, theirs = (without_clock(digests(folder / "results/runs")) for folder in (workspace, long_study))
    assert len({Path(name).parts[0] for name in ours}) == 3
    assert ours == {name: theirs[name] for name in ours}


@pytest.mark.parametrize("how", ["copied without times", "clock jumped back"])
def test_results_that_look_old_are_not_made_again(small_study, workspace, how):
    copy_results(small_study, workspace)
    chance, now = random.Random(0), time.time()
    if how == "copied without times":
        for path in workspace.glob("results/**/*"):
            when = now - chance.uniform(0, 1000)
            os.utime(path, (when, when), follow_symlinks=False)
    else:
        shutil.copytree(small_study / ".snakemake", workspace / ".snakemake")
        for path in workspace.glob("results/datasets/digits/*"):
            os.utime(path, (now + 90000, now + 90000))
    before = digests(workspace / "results")
    looked_at = {path: path.read_bytes() for path in workspace.glob("results/runs/**/provenance/*.json")}
    config = write_config(workspace, SMALL)
    result = finish(ablation(config), workspace)
    assert "taken over: their files are what their provenance says" in result.stdout
    assert before == digests(workspace / "results")
    assert looked_at == {path: path.read_bytes() for path in looked_at}  # nothing was done again
    again = call(ablation(config), workspace)
    assert "Nothing to be done" in again.stdout + again.stderr
    assert "taken over" not in again.stdout


def test_only_what_is_as_recorded_is_taken_over(small_study, workspace, monkeypatch):
    copy_results(small_study, workspace)
    monkeypatch.chdir(workspace)
    expansion = load(write_config(workspace, SMALL))
    every = list(all_jobs("small", expansion.runs, expansion.datasets, Path("results")))
    for job in every:
        assert job.rule == "study" or adoption.is_as_recorded(job), job.rule
    chosen = next(job for job in every if job.rule == "evaluate")
    for path in (chosen.files[0], chosen.files[-1], chosen.inputs[-1]):
        content = path.read_bytes()
        path.write_bytes(content.replace(b"1", b"2", 1) if path.suffix == ".json" else content[:-1])
        found = adoption.is_as_recorded(chosen)
        path.write_bytes(content)
        assert not found or path == chosen.files[-1], path
    # what is missing an input, or a file, is not there to be taken over
    os.utime(chosen.files[0], (0, 0))
    chosen.files[1].unlink()
    assert chosen not in adoption.adopt(every, "").jobs


def test_what_was_made_from_other_files_is_not_current(small_study, workspace):
    """However young it is: the weights of one run were trained anew, and its evaluation and the tables are of those before."""
    copy_results(small_study, workspace)
    trained = next(workspace.glob("results/runs/*-K2-*"))
    record = json.loads((trained / "provenance/train.json").read_text())
    weights = trained / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    record["outputs"][str(weights.relative_to(workspace))] = sha256(weights)
    (trained / "provenance/train.json").write_text(json.dumps(record))
    for path in workspace.glob("results/**/*"):
        os.utime(path, (1e9, 1e9), follow_symlinks=False)
    tabulate = [sys.executable, "scripts/tabulate.py", "--study", "results/small/study.json", "--runs", "results/runs"]
    refused = call(tabulate, workspace)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: results/runs/{trained.name}: evaluate was made from another model.safetensors; ")
    config = write_config(workspace, SMALL)
    result = finish(ablation(config, "--until", "tabulate"), workspace)
    assert f"evaluate of {trained.name} is done again: it was made from other files than are there now" in result.stdout
    assert weights.read_bytes() == content
    evaluated = json.loads(find(trained, "provenance/evaluate.json").read_text())
    assert evaluated["inputs"][str(weights.relative_to(workspace))] == sha256(weights)
    assert jobs(finish(ablation(config, "--until", "tabulate"), workspace)) == {"total": 0}


def test_a_copied_study_with_another_config_gets_other_tables(small_study, workspace):
    copy_results(small_study, workspace)
    models = {path: path.stat().st_mtime_ns for path in workspace.glob("results/runs/*/model.safetensors")}
    finish(ablation(write_config(workspace, {**SMALL, "K": [2]}), "--until", "tabulate"), workspace)
    rows = [line.split(",") for line in (workspace / "results/small/metrics.csv").read_text().splitlines()]
    assert {K for _, _, model, K, *_ in rows if model == "vae"} == {"2"}
    assert models == {path: path.stat().st_mtime_ns for path in models}


@pytest.mark.parametrize("options", ["size=400k", "size=100m,ro"], ids=["full", "read-only"])
def test_a_disk_that_takes_nothing_more_loses_nothing(small_study, workspace, options):
    results = workspace / "results"
    results.mkdir()

    def mount(*line: str) -> None:
        done = subprocess.run([*line, str(results)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")

    mount("mount", "-t", "tmpfs", "-o", options.removesuffix(",ro"), "none")
    try:
        if options.endswith("ro"):
            config = write_config(workspace, SMALL)
            copy_study(small_study / "results", results)
            mount("mount", "-o", "remount,ro")
            before = digests(results)
            result = call(ablation(config), workspace)
            assert result.stderr.splitlines()[-1] == (
                "error: results: Read-only file system; nothing was started and nothing is lost"
            )
            assert digests(results) == before
            mount("mount", "-o", "remount,rw")
        else:
            config = write_config(workspace, {**BLOCK, "K": 1})
            result = call(ablation(config), workspace)
            assert "No space left on device" in result.stdout + result.stderr
        assert result.returncode == 1
        assert "Traceback" not in result.stdout + result.stderr
        mount("mount", "-o", "remount,size=100m")
        finish(ablation(config, *MEASURED), workspace)
        ours, theirs = (without_clock(digests(folder)) for folder in (results, small_study / "results"))
        assert len(ours) >= len(load(config).runs)
        assert ours == {name: theirs[name] for name in ours}
    finally:
        subprocess.run(["umount", str(results)], check=True)
