"""What a study will take, told before it starts: jobs as Snakemake counts them, operations as one does by hand."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from support.project import ROOT, complaint, run_script
from support.specs import small_spec
from support.studies import find

from mixvae.cluster.costs.estimates import estimate, fit
from mixvae.cluster.costs.measurements import REFERENCE, measure, read_table, write_table
from mixvae.cluster.costs.operations import count, operations
from mixvae.cluster.costs.work import Work, kind_of, work_of
from mixvae.errors import UserError
from mixvae.models import build
from mixvae.study import catalogue, load, parse_run
from mixvae.study.jobs import all_jobs

DIGITS = catalogue()["digits"]
STUDY = {
    "study": "tiny",
    "runs": [
        {"dataset": "digits", "likelihood": "bernoulli", "K": [1, 2], "latent": 3, "training": {"epochs": 3, "warmup": 2},
         "encoder": {"hidden": [12]}, "decoder": {"hidden": [12]}, "evaluation": {"samples": 50, "probe_points": 200}},
        {"dataset": "ring", "model": "toy", "K": 1, "training": {"epochs": 3, "warmup": 2}, "evaluation": {"samples": 50}},
    ],
}  # fmt: skip


# --- jobs ----------------------------------------------------------------------------------------------------------------------


def jobs_of_snakemake(folder: Path) -> dict[str, int]:
    command = [sys.executable, "-m", "snakemake", "-n", "--configfile", "tiny.yaml", "--cores", "1", "--quiet", "rules"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    table = (result.stdout + result.stderr).split("Job stats:")[1]
    return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def jobs_of_plan(folder: Path) -> dict[str, int]:
    text = run_script("plan", "tiny.yaml", cwd=folder).stdout
    found = re.findall(r"^ *(\w+) +(\d+) +(\d+) +(\d+)$", text.split("rule  jobs")[1], re.MULTILINE)
    assert all(int(jobs) == int(finished) + int(todo) for _, jobs, finished, todo in found)
    return {name: int(todo) for name, _, _, todo in found if int(todo)}


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


def test_jobs_are_those_of_snakemake(workspace):
    (workspace / "tiny.yaml").write_text(yaml.safe_dump(STUDY))
    expected = jobs_of_snakemake(workspace)
    assert expected["train"] == 4
    assert jobs_of_plan(workspace) == expected
    # everything but one run's evaluation and the tables is there
    expansion = load(workspace / "tiny.yaml")
    for job in all_jobs("tiny", expansion.runs, expansion.datasets, workspace / "results"):
        if job.rule not in ("study", "tabulate", "figures"):
            touch(workspace, *(str(file.relative_to(workspace)) for file in job.files))
    run = next(iter(expansion.runs))
    find(workspace / "results/runs" / run, "pointwise.npz").unlink()
    expected = jobs_of_snakemake(workspace)
    assert expected == {"all": 1, "evaluate": 1, "study": 1, "tabulate": 1, "figures": 1, "total": 5}
    assert jobs_of_plan(workspace) == expected


def test_nothing_to_estimate_from_is_one_line(workspace):
    (workspace / "tiny.yaml").write_text(yaml.safe_dump(STUDY))
    result = run_script("plan", "tiny.yaml", cwd=workspace)
    assert complaint(result).startswith("error: nothing to estimate hours from")
    assert "make ablation" in result.stderr


def test_a_plan_ends_with_one_line_and_writes_nothing(workspace):
    (workspace / "tiny.yaml").write_text(yaml.safe_dump(STUDY))
    (workspace / "results/reference").mkdir(parents=True)
    (workspace / REFERENCE).write_bytes((ROOT / REFERENCE).read_bytes())
    before = {path: path.stat().st_mtime_ns for path in workspace.rglob("*")}
    result = run_script("plan", "tiny.yaml", "--cores", 2, cwd=workspace)
    assert result.returncode == 0, result.stderr
    last = result.stdout.splitlines()[-1]
    assert re.fullmatch(r"4 runs, 20 jobs to do, about .+ on 2 cores \(upper bound, .+ CPU-hours\), up to .+ GB per job", last)
    assert "reference" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in workspace.rglob("*")} == before


# --- operations ----------------------------------------------------------------------------------------------------------------


def test_operations_of_an_mlp_are_those_counted_by_hand():
    spec = small_spec(K=1, latent=4, encoder={"hidden": [16]}, decoder={"hidden": [16]})
    counts = count(spec, DIGITS)
    # gated layers are twice as wide; a product of (B, n) and (n, m) takes 2 B n m
    first, encoder, decoder = 2 * 64 * 32, 2 * (64 * 32 + 16 * 8), 2 * (4 * 32 + 16 * 64)
    assert counts.encode == encoder
    assert counts.sample == decoder
    # backwards as much for the weights as for the inputs, of which the data need no gradient
    assert counts.step == 200 * (3 * (encoder + decoder) - first)


MODELS = {
    "vae": {"K": 2, "prior": {"name": "vamp", "components": 20}, "flow": {"name": "iaf", "hidden": [8]}},
    "pixelcnn": {"model": "vae", "K": 2, "decoder": {"name": "pixelcnn", "layers": 2, "channels": 4}},
    "hvae": {"K": 2, "latent_top": 3, "lower": {"hidden": [8]}},
    "mvae": {"K": 2, "likelihood": "gaussian"},
    "cpvae": {"K": 3},
    "gmvae": {"K": 3},
    "gmvae_shu": {"K": 3},
}


@pytest.mark.parametrize("name", MODELS)
def test_operations_counted_without_data_are_those_with_data(name):
    """A VampPrior's pseudo-inputs are as many as real data would give: 20 of 1,297 points."""
    networks = {"encoder": {"hidden": [8]}, "decoder": {"hidden": [8]}}
    base = {"dataset": "digits", "model": name, "likelihood": "bernoulli", "latent": 3, "training": {"batch_size": 10}}
    spec = parse_run({**base, **networks, **MODELS[name]})
    counts = count(spec, DIGITS)
    model = build(spec, torch.rand(1297, 64), (1, 8, 8))
    job, encode, sample, _ = operations(model, 10, spec, 64)
    # dHSIC is quadratic in the batch
    assert counts.step == pytest.approx(job, rel=0.05 if name == "mvae" else 0)
    assert (counts.encode, counts.sample) == (encode, sample)
    assert job > 10 * (encode + sample)


def test_work_of_a_run_adds_up():
    spec = small_spec(
        K=2, training={"epochs": 7, "warmup": 2, "batch_size": 100, "points": 150}, evaluation={"samples": 50, "points": 30}
    )
    work, counts = work_of(spec, DIGITS), count(spec, DIGITS)
    assert work["train"].units == 7 * 2
    # one and a half batches of training points, and as many validation points as asked for
    assert work["train"].work == pytest.approx(7 * (1.5 * counts.step + 150 * (counts.encode + counts.sample)))
    assert work["evaluate"][:2] == (30 * 50 * 2, 30 * (counts.encode + 50 * counts.sample))


# --- estimates -----------------------------------------------------------------------------------------------------------------

START_UP, PER_UNIT, PER_WORK = 4.0, 2e-4, 3e-11


def measurement(spec, units: float, work: float, seconds: float | None = None, stage: str = "evaluate", **changes) -> dict:
    seconds = START_UP + PER_UNIT * units + PER_WORK * work if seconds is None else seconds
    row = kind_of(stage, spec, DIGITS, 0) | {
        "units": units, "work": work, "array_mb": 10.0, "seconds": seconds, "start_up": 0.0, "peak_memory_mb": 400.0,
        "epochs": 0, "max_epochs": 0, "device": "cpu", "date": "2026-01-01", "source": "here",
    }  # fmt: skip
    return row | changes


def synthetic(count: int = 12) -> list[dict]:
    generator = np.random.default_rng(0)
    units, work = 10 ** generator.uniform(5, 7, count), 10 ** generator.uniform(9, 13, count)
    return [measurement(small_spec(latent=i + 1), u, w) for i, (u, w) in enumerate(zip(units, work, strict=True))]


def estimated(rows: list[dict], spec, work: Work, stage: str = "evaluate", gpu: int = 0, max_epochs: int = 0) -> pd.Series:
    job = kind_of(stage, spec, DIGITS, gpu) | work._asdict() | {"max_epochs": max_epochs}
    return estimate(pd.DataFrame([job]), pd.DataFrame(rows)).iloc[0]


def test_known_costs_are_recovered():
    np.testing.assert_allclose(fit(pd.DataFrame(synthetic())), (START_UP, PER_UNIT, PER_WORK), rtol=1e-6)
    found = estimated(synthetic(), small_spec(latent=99), Work(5e4, 2e12, 12.0, 1.0))
    assert found.seconds == pytest.approx(START_UP + 5e4 * PER_UNIT + 2e12 * PER_WORK, rel=1e-6)
    assert (found.basis, found.rows) == ("same model and networks", 12)
    assert found.spread == pytest.approx(1)


def test_a_single_measurement_is_scaled_by_its_work():
    rows = [measurement(small_spec(), 100.0, 1e10, seconds=12.0, start_up=2.0)]
    found = estimated(rows, small_spec(latent=9), Work(100.0, 3e10, 10.0, 1.0))
    assert found.seconds == pytest.approx(2 + 3 * 10)
    assert found.reach == pytest.approx(3)


def test_no_start_up_is_shorter_than_a_control_that_does_nothing_else():
    """A tenth of the work of one job, whose rule has no measurements that tell its start-up from its work."""
    control = parse_run({"dataset": "digits", "model": "constant", "likelihood": "bernoulli"})
    job = measurement(small_spec(), 1e4, 1e10, seconds=12.0)
    tenth = Work(1e3, 1e9, 10.0, 1.0)
    assert estimated([job], small_spec(), tenth).seconds == pytest.approx(1.2)
    rows = [job, measurement(control, 0.0, 0.0, seconds=4.0)]
    assert estimated(rows, small_spec(), tenth).seconds == pytest.approx(4.0 + 0.8)


def test_what_was_measured_takes_its_own_seconds():
    units, work = 1e4, 1e10
    rows = [*synthetic(), measurement(small_spec(latent=77), units, work, seconds=321.0)]
    spec = small_spec(latent=77, seed=5)
    once, twice = (estimated(rows, spec, Work(times * units, times * work, 10.0, 1.0)) for times in (1, 2))
    assert once.seconds == pytest.approx(321.0)
    assert (once.basis, once.memory_mb) == ("measured", 400.0)
    assert 321 + 0.9 * 321 < twice.seconds < 2 * 321, "only the start-up is not doubled"


def test_the_nearest_measurements_count():
    digits, other = small_spec(), small_spec(decoder={"name": "pixelcnn", "layers": 2, "channels": 4})
    here = measurement(digits, 1e4, 1e12, seconds=100.0)
    rows, work = [here, measurement(other, 1e4, 1e12, seconds=500.0, source="reference")], Work(1e4, 1e12, 10.0, 1.0)
    bases = {
        "same model and networks": small_spec(latent=9),
        "measured, reference": other,
        "same model and networks, reference": small_spec(latent=9, decoder={"name": "pixelcnn", "layers": 2, "channels": 4}),
        "same networks": parse_run({"dataset": "digits", "model": "cpvae", "likelihood": "bernoulli", "K": 3}),
    }
    for basis, spec in bases.items():
        assert estimated(rows, spec, work).basis == basis
    assert estimated(rows, digits, work, gpu=1).basis.endswith("other device")


def test_threads_and_batches_make_another_kind_but_seeds_and_epochs_do_not():
    def signature(**changes):
        return kind_of("train", small_spec(**changes), DIGITS, 0)["signature"]

    assert signature(seed=4) == signature() == signature(training={"epochs": 9, "warmup": 2, "batch_size": 200})
    others = [{}, {"threads": 2}, {"training": {"batch_size": 50}}, {"K": 3}, {"flow": "coupling"}]
    assert len({signature(**changes) for changes in others}) == len(others)


def test_early_stopping_is_known_from_comparable_runs_only():
    rows = [measurement(small_spec(), 1e3, 1e10, stage="train", epochs=30, max_epochs=100)]
    spec, work = small_spec(latent=9), Work(1e3, 1e10, 10.0, 1.0)
    assert estimated(rows, spec, work, "train", max_epochs=120).epochs_share == pytest.approx(0.3)
    assert np.isnan(estimated(rows, spec, work, "train", max_epochs=4000).epochs_share)


def test_a_table_of_costs_reads_back(tmp_path):
    path = tmp_path / "costs.csv"
    last = measurement(small_spec(latent=1), 7.0, 8.0, signature="12e456789012")
    rows = pd.DataFrame([*synthetic(3), last, last | {"seconds": last["seconds"] + 2}])
    assert write_table(rows, path) == 4
    again = read_table(path)
    assert set(again.signature) == set(rows.signature)
    odd = again.set_index("signature").loc["12e456789012"]
    assert odd.seconds == pytest.approx(last["seconds"] + 1, rel=1e-5)
    assert (odd["shape"], odd.source, odd.threads) == ("1x8x8", "reference", 1)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="not a table of costs"):
        read_table(path)


def test_finished_runs_are_measured(tmp_path):
    """The seconds of a process that Snakemake has clocked, less those of training, are its start-up."""
    from mixvae.files import write_json

    spec = small_spec()
    folder = tmp_path / "runs" / spec.id
    write_json(folder / "spec.json", spec.training_spec())
    write_json(folder / "training.json", {"epochs": 2})
    facts = {"seconds": 9.0, "train_seconds": 6.0, "peak_memory_mb": 333.0, "gpu": False}
    write_json(folder / "provenance/train.json", {**facts, "device": "cpu", "start": "2026-01-02T03:04:05"})
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks/train.tsv").write_text("s\th:m:s\n11.0\t0:00:11\n")
    (tmp_path / "runs/old").mkdir()
    (tmp_path / "runs/old/spec.json").write_text('{"model": "no more"}')
    table, unread = measure(tmp_path)
    assert (len(table), unread) == (1, 1)
    row = table.iloc[0]
    assert (row.seconds, row.start_up, row.epochs, row.max_epochs, row.gpu, row.date) == (11.0, 5.0, 2, 3, 0, "2026-01-02")
    assert row.work == pytest.approx(work_of(spec, DIGITS)["train"].work * 2 / 3)
    # cut off and gone on with: the last process took nine seconds of the forty
    write_json(
        folder / "provenance/train.json", {**facts, "train_seconds": 40.0, "gpu": True, "device": "x", "start": "2026-01-02T03"}
    )
    row = measure(tmp_path)[0].iloc[0]
    assert (row.seconds, row.start_up, row.gpu) == (40.0, 0.0, 1)
