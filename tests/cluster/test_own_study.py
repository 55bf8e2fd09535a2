"""The examples of docs/extending.md, as files of a user, through a whole study; and nobody who reads it executes them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from support.project import ROOT, make_workspace, run_here, run_script

from mixvae.files import read_json
from mixvae.study import parse_run_json

EXAMPLES = ROOT / "docs/examples"
QUIET = ["--cores", "2", "--profile", "default"]


@pytest.fixture(scope="session")
def own_study(shared) -> Path:
    """A folder with the finished study of the examples, not to be changed."""
    return shared("own_study", _make)


def _make(folder: Path) -> None:
    """Run the study from copies of the examples that note when they are executed."""
    folder.mkdir(parents=True, exist_ok=True)
    make_workspace(folder)
    examples = folder / "docs/examples"
    examples.mkdir(parents=True)
    for path in EXAMPLES.glob("*.py"):
        mark = f"open({str(folder / 'executed')!r}, 'a').write('{path.stem}\\n')\n" if path.stem != "squares" else ""
        (examples / path.name).write_text(path.read_text() + mark)
    shutil.copy(EXAMPLES / "own.yaml", folder)
    subprocess.run([sys.executable, examples / "squares.py", examples / "squares.npz"], check=True)
    done = run_script("ablation", "own.yaml", *QUIET, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "ablation.log").write_text(done.stdout + done.stderr)


@pytest.fixture
def finished(own_study, tmp_path) -> Path:
    """A copy of the study, whose files have not been executed yet."""
    copy = tmp_path / "copy"
    shutil.copytree(own_study, copy, symlinks=True)
    (own_study / "executed").unlink(missing_ok=True)
    return copy


def specs(folder):
    return {path.parent: parse_run_json(path.read_text()) for path in folder.glob("results/runs/*/spec.json")}


def test_every_part_is_in_the_tables(own_study):
    study = own_study / "results/own"
    (ablation,) = study.glob("tables/ablation_squares-*.md")
    head = ablation.read_text().splitlines()[2]
    columns = [cell.strip() for cell in head.strip("|").split("|")]
    assert columns == [
        "metric", "K", "spread standard+none (bernoulli)", "vae standard+none (bernoulli)", "vae student_prior+none (bernoulli)",
        "beta_vae standard+none (bernoulli)", "beta_vae student_prior+none (bernoulli)", "vae vamp+stretch_flow (bernoulli)",
        "vae standard+none (laplace)",
    ]  # fmt: skip
    (own,) = study.glob("tables/own_squares-*.csv")
    (row,) = pd.read_csv(own).query("K == 2").itertuples()
    assert row.metric == "spread"
    assert row.mean > 0
    assert "- `spread`: distance between the means of two encoders" in own.with_suffix(".md").read_text()
    assert "treats components differently" in (study / "skipped.csv").read_text()
    assert "executed, to learn what it is" in (own_study / "ablation.log").read_text()


def test_a_run_keeps_its_files_and_says_so(own_study):
    (run,) = (run for run, spec in specs(own_study).items() if spec.model == "beta_vae" and spec.prior.name == "student_prior")
    kept = sorted(path.name for path in run.glob("*.py"))
    assert [name.rsplit("-", 1)[0] for name in kept] == ["beta_vae", "student_prior"]
    outputs = read_json(run / "provenance/train.json")["outputs"]
    assert {f"results/runs/{run.name}/{name}" for name in kept} <= outputs.keys()


def test_nobody_who_reads_it_executes_anything(finished, own_study):
    for command, arguments in {
        "audit": ["results/own"],
        "trace": [
            next(finished.glob("results/own/tables/ablation_*.csv")),
            "--row=nll,K=2",
            "--column=beta_vae student_prior+none (bernoulli)",
        ],
        "report": ["results/own"],
        "export": ["results/own"],
    }.items():
        done = run_here(command, *arguments, cwd=finished)
        assert done.returncode == 0, done.stdout + done.stderr
    shutil.copy(finished / "own.yaml", finished / "mine.yaml")
    for known in (True, False):
        if not known:
            (finished / "results/parts/.looked.json").unlink()
        done = run_here("audit", "mine.yaml", cwd=finished)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (
            "reading results never executes a user's own part; the runs are taken from study.json alone" in done.stderr
        ) != known
    assert not (own_study / "executed").exists()


def test_a_file_that_was_exchanged_is_noticed(finished):
    (run,) = (run for run, spec in specs(finished).items() if spec.likelihood.name == "laplace" and not spec.is_control)
    (kept,) = run.glob("*.py")
    kept.write_text(kept.read_text() + "# changed\n")
    done = run_here("audit", "results/own", cwd=finished)
    assert done.returncode == 1
    assert f"{kept.relative_to(finished)}: changed since it was made" in done.stderr
    assert "not the file of the run's own part, whose sha256 is" in done.stderr
    done = run_here("verify", run.name, cwd=finished)
    assert done.returncode == 1
    assert "not what rule train made" in done.stderr


def test_verify_trains_again_and_says_whose_code_it_runs(finished, own_study):
    (run,) = (run for run, spec in specs(finished).items() if spec.model == "beta_vae" and spec.prior.name == "student_prior")
    done = run_script("verify", run.name, cwd=finished)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "byte-identical" in done.stdout
    assert (own_study / "executed").exists()
    assert sum("is executed: a part that the author of this run wrote" in line for line in done.stderr.splitlines()) == 2


def test_a_changed_file_makes_new_runs_and_leaves_the_old_ones(finished):
    with (finished / "docs/examples/beta_vae.py").open("a") as file:
        file.write("# changed\n")
    done = run_script("ablation", "own.yaml", *QUIET, "-n", "--quiet", "rules", cwd=finished)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = [
        line.split()
        for line in (done.stdout + done.stderr).splitlines()
        if line.startswith(("train ", "evaluate ", "latents "))
    ]
    assert "beta_vae.py has changed: 2 new runs; those of the file as it was stay in results/runs/" in done.stdout.splitlines()
    assert {rule: int(count) for rule, count in listed} == {"train": 2, "evaluate": 2, "latents": 2}


def test_its_cost_is_estimated_before_and_after_it_ran(own_study, finished):
    (finished / "own.yaml").write_text((finished / "own.yaml").read_text().replace("samples: 50", "samples: 60"))
    done = run_script("plan", "own.yaml", "--cores", "2", cwd=finished)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"evaluate +10 +2 +8", done.stdout)
    assert re.search(r"train +10 +10 +0", done.stdout)
    assert re.search(r"study +1 +0 +1", done.stdout)
    shutil.rmtree(finished / "results/runs")
    (finished / "results/reference").symlink_to(ROOT / "results/reference")
    done = run_script("plan", "own.yaml", "--cores", "2", cwd=finished)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"train +10 +0 +10", done.stdout)


def test_an_error_in_a_job_is_a_line(finished):
    """One model raises in a training step; another gives a metric that its settings do not name, which is found before training."""
    text = (finished / "docs/examples/beta_vae.py").read_text()
    (finished / "docs/examples/broken.py").write_text(
        text.replace("return super()", "raise ArithmeticError('of mine')\n        return super()")
    )
    spread = (finished / "docs/examples/spread.py").read_text()
    (finished / "docs/examples/sprawl.py").write_text(spread.replace('return {"spread": (', 'return {"sprawl": ('))
    config = (
        (finished / "own.yaml")
        .read_text()
        .split("  - <<")[0]
        .replace("beta_vae.py", "broken.py")
        .replace("study: own", "study: broken")
    )
    (finished / "broken.yaml").write_text(
        config.replace("[vae, {path", "[{path: docs/examples/sprawl.py}, {path").replace(
            "[standard, {path: docs/examples/student_prior.py, df: 4}]", "standard"
        )
    )
    done = run_script("ablation", "broken.yaml", *QUIET, "--quiet", "all", cwd=finished)
    assert done.returncode == 1
    failures = pd.read_csv(finished / "results/broken/failures.csv")
    assert set(failures.rule) == {"train"}
    raised, named = failures.sort_values("run").log
    assert re.search(r"error: results/parts/broken-\w+\.py, line \d+, in objective: ArithmeticError: of mine\n", raised)
    assert "error: sprawl: extra_metrics of Module gives sprawl, but that of Settings names spread\n" in named
    assert "Traceback" not in raised + named + done.stdout + done.stderr
