"""The benchmarks measure what they say; no figure of theirs is judged here."""

import json
import time
from argparse import ArgumentParser
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.specs import points, small_spec

from benchmarks import bench, clock, errors, evaluations, growth, machine, sharing, steps, tables
from benchmarks.cases import CASES, Case
from benchmarks.floor import floor_of
from mixvae.cluster.costs.operations import flops
from mixvae.data.prepared import save
from mixvae.fitting.runs import save_run
from mixvae.fitting.training import Trained
from mixvae.measuring import adaptive
from mixvae.models import build

pytestmark = pytest.mark.alone

CPU = torch.device("cpu")
TINY = {"latent": 3, "encoder": {"hidden": [12]}, "decoder": {"hidden": [12]}, "K": 2}
PEAK = (lambda: torch.ones(8, 8) @ torch.ones(8, 8), 2 * 8**3)


@pytest.fixture
def case():
    return Case("tiny", TINY, shape=(1, 8, 8))


def test_sides_take_turns(monkeypatch):
    order = []

    def side(name, seconds):
        def turn():
            order.append(name)
            return seconds

        return turn

    rounds = clock.take_turns({"a": side("a", [1.0, 2.0, 9.0]), "b": side("b", [4.0])}, seconds=0)
    assert order == ["a", "b"] * clock.LEAST_ROUNDS
    assert rounds == {"a": [2.0] * 3, "b": [4.0] * 3}
    assert clock.ratio([2.0, 4.0, 9.0], [1.0, 1.0, 3.0]) == (3.0, 2.5, 3.5)


def test_the_librarys_own_loop_is_clocked(case, monkeypatch):
    """Every step of it once, and none but the first is left out; it trains."""
    model, data = case.model(CPU), case.data()
    before = model.decoder.layers[-1].bias.detach().clone()
    objective, calls = model.objective, []

    def slow(*arguments):
        calls.append(arguments)
        time.sleep(0.02)
        return objective(*arguments)

    monkeypatch.setattr(model, "objective", slow)
    seconds = steps.library_steps(model, data, case, CPU, 4)
    assert (len(seconds), len(calls)) == (4, 5)
    assert min(seconds) > 0.02
    assert (model.decoder.layers[-1].bias != before).any()


@pytest.mark.parametrize("changes", [{}, {"prior": {"name": "vamp", "components": 5}, "encoder": {"name": "conv", "layers": [[3, 3, 2]]},
                                          "decoder": {"name": "pixelcnn", "layers": 2, "channels": 4}}])  # fmt: skip
def test_the_floor_has_all_counted_operations_and_changes_nothing(case, changes):
    case = Case("tiny", {**TINY, **changes}, shape=(1, 8, 8))
    model, step = steps.forward_and_backward(case, CPU)
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    floor = floor_of(step, list(model.parameters()))
    assert flops(floor) == flops(step) > 0
    for parameter, weight in zip(model.parameters(), weights, strict=True):
        assert torch.equal(parameter, weight)


def test_a_peak_is_in_operations_per_second(monkeypatch):
    calls = []
    monkeypatch.setattr(machine, "products", lambda device: {"slow": (lambda: calls.append(0) or time.sleep(0.01), 1000)})
    best, rates = machine.peak(CPU)
    assert best == "slow"
    assert 0 < rates[best] < 1000 / 0.01
    assert len(calls) == 1 + machine.TRIES


@pytest.mark.parametrize("name", CASES)
def test_every_case_is_a_model(name):
    case = CASES[name]
    kind = case.data().meta["kind"]
    info = SimpleNamespace(kind=kind, shape=case.shape, is_image=kind.endswith("image"))
    assert case.spec.skip_reason(info) is None
    assert case.data().points("train", binary=False).shape[1] == np.prod(case.shape)
    assert set(bench.measurements(CPU, 0, PEAK)) >= {f"training/{name}"}


def test_measurements_and_tables(case, monkeypatch, capsys):
    for module, samples in ((evaluations, {"cpu": 30}), (growth, 30)):
        monkeypatch.setattr(module, "POINTS", 4)
        monkeypatch.setattr(module, "SAMPLES", samples)
    result = {
        "machine": {
            "device": "a machine",
            "mps": True,
            "threads": 1,
            "torch": "2",
            "date": "now",
            "operations_per_second": {"product": 1e9},
        },
        "training/tiny": steps.measure(case, CPU, 0, PEAK),
        "evaluation/tiny": evaluations.measure(case, CPU, 0),
        "memory/tiny": {"case": "tiny", "samples": 5000, "before_mb": 100.0, "peak_mb": 200.0},
        "growth/tiny-components": growth.in_components(case, CPU, 0),
        "growth/tiny-samples": growth.in_samples(case, CPU, 0),
        "sharing/tiny": {
            "runs_at_a_time": 2,
            "hours": 3.0,
            "hours_to_the_last": 3.5,
            "cells": {"tiny K1": {"step_ms": 4.0, "epoch_s": 5.0}},
        },
        "overhead/jobs": {"study": 2.0, "jobs": 3, "rules": {"train": 1.5}},
    }
    json.dumps(result)
    trained = result["training/tiny"]
    assert trained["operations"] > 2 * 3 * 2 * 100 * 64 * 12  # at least the encoders' first layers, without gradients of x
    median, low, high = trained["naive_over_library"]
    assert 0 < low <= median <= high
    tables.print_tables(result)
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.startswith("| tiny")]
    assert len(rows) == 6
    assert f"{median:.2f} ({low:.2f}-{high:.2f})" in rows[0]
    assert "| train | 1.50 |" in printed


def test_memory_is_that_of_a_process_of_its_own():
    """Whatever this one holds, and what is allocated there counts."""
    held = torch.ones(1 << 28)  # 1 GiB
    before = evaluations.memory("demo-K1", 25, "cpu")
    del held
    assert 50 < before["before_mb"] <= before["peak_mb"] < 900


def test_an_ablation_takes_the_epochs_of_all_its_runs_over_those_at_a_time():
    """In two processes, with two models of the paper's size; their times are what they are."""
    assert len(sharing.cells()) == 24
    found = sharing.measure(["K1-standard-none", "K2-standard-none"], 2, CPU, 0)
    assert (len(found["cells"]), found["runs_at_a_time"]) == (2, 2)
    for entry in found["cells"].values():
        steps = sharing.POINTS / 100 * entry["step_ms"] / 1000
        assert 0 < steps < entry["epoch_s"]
    every = sum(entry["epoch_s"] for entry in found["cells"].values())
    assert found["hours"] * 3600 == pytest.approx(3 * 500 * every / 2)
    assert found["hours"] <= found["hours_to_the_last"] < 2 * found["hours"]


def test_the_last_run_ends_after_the_longest_chain():
    assert sharing.makespan([5, 3, 3, 1, 1], 2) == 7  # 5 + 1 and 3 + 3 + 1
    assert sharing.makespan([4, 1], 3) == 4


def test_the_command_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    path = tmp_path / "new" / "bench.json"
    arguments = ["bench", "--only", "training/demo-K1", "--seconds", "0", "--threads", "1", "--output", str(path)]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setattr(machine, "peak", lambda device: ("512 x 512 product", {"512 x 512 product": 1e9}))
    bench.main(ArgumentParser())
    written = json.loads(path.read_text())
    assert list(written) == ["machine", "training/demo-K1"]
    assert written["machine"]["threads"] == 1
    assert "| demo-K1 |" in capsys.readouterr().out


def test_errors_are_those_against_the_truth(prepared, tmp_path, monkeypatch):
    """Few budgets: the errors are differences to long annealing, which more samples and temperatures come nearer to."""
    monkeypatch.setattr(errors, "SAMPLES", (2, 2000))
    monkeypatch.setattr(errors, "TEMPERATURES", (2, 20))
    monkeypatch.setattr(errors, "FRESH", (500,))
    monkeypatch.setattr(errors, "MANY", 60)
    for name in ("FRESH", "PER_ROUND"):  # which the script changes, and the next test must find as they were
        monkeypatch.setattr(adaptive, name, getattr(adaptive, name))
    spec, data = small_spec(), prepared("digits")
    folder = tmp_path / "runs" / spec.id
    model = build(spec, points(data, "train"), (1, 8, 8))
    save_run(folder, spec, model, Trained(model.state_dict(), [], 0, "budget"))
    (tmp_path / "datasets/digits").mkdir(parents=True)
    save(data, tmp_path / "datasets/digits")
    table = errors.measure(folder, 6)
    assert table.estimator.tolist() == ["annealed", "plain", "plain", "annealed", "annealed", "adapted"]
    assert table.off.iloc[0] == 0
    assert (table.seconds > 0).all()
    assert table.off.iloc[1] > 5 * abs(table.off.iloc[2])
    assert abs(table.off.iloc[2:]).max() < 0.2
    np.testing.assert_allclose(table.nll - table.nll.iloc[0], table.off, atol=1e-6)
    errors.draw(table, tmp_path / "errors")
    assert (tmp_path / "errors.png").stat().st_size > 5000
