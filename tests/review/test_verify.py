"""A run trained again: the same bytes, within the spread of the seeds, or neither; nothing of the run is touched."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support.project import refusal, run_here, run_script
from support.studies import find

from mixvae.data.origin import verify_origin
from mixvae.errors import UserError
from mixvae.files import read_json, sha256, write_json
from mixvae.provenance import seal
from mixvae.review.verification import (
    differences,
    find_run,
    judge,
    prediction_interval,
    recorded_jobs,
    same_files,
    siblings,
    table,
    verify_data,
)
from mixvae.study import Run

K1, K2, CONTROL = "digits-vae-K1-*", "digits-vae-K2-*", "digits-constant-*"


def runs_of(folder: Path, pattern: str) -> list[Path]:
    found = sorted((folder / "runs").glob(pattern))
    assert found
    return found


def measured(run: Path) -> Run:
    """Return the spec of a run, with the settings by which it was evaluated."""
    (spec,) = (spec for rule, spec in recorded_jobs(run) if rule == "evaluate")
    return spec


def likelihoods(runs: list[Path]) -> list[Path]:
    return [find(run, "likelihood.json") for run in runs]


def digests(folder: Path) -> dict[str, str]:
    return {str(path): sha256(path) for path in folder.rglob("*") if path.is_file()}


def scale(run: Path, by: float) -> None:
    """Change all likelihoods of a run."""
    content = read_json(find(run, "likelihood.json"))
    for entry in content["metrics"].values():
        if entry["value"] is not None:
            entry["value"] *= by
    write_json(find(run, "likelihood.json"), content)


def vouch(run: Path, rule: str, *files: str) -> None:
    """Write the digests of files as they are now into a record, as somebody would who knows how."""
    record = find(run, f"provenance/{rule}.json")
    facts = read_json(record)
    facts["outputs"] |= {name: sha256(find(run, Path(name).name)) for name in facts["outputs"] if Path(name).name in files}
    write_json(record, facts)


def metric(run: Path, name: str = "nll") -> float:
    return read_json(find(run, "likelihood.json"))["metrics"][name]["value"]


@pytest.mark.parametrize("pattern", [K2, CONTROL])
def test_a_run_is_byte_identical_and_is_left_alone(small_study, tmp_path, pattern):
    run = runs_of(small_study / "results", pattern)[0]
    before = digests(small_study / "results")
    (tmp_path / "scratch").mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path / "scratch")}
    result = run_script("verify", run.name, cwd=small_study, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    assert lines[-1] == f"results/runs/{run.name}: byte-identical"
    assert any(line.startswith("identical: spec.json, model.safetensors, history.csv, training.json") for line in lines)
    assert not any(line.startswith(("not identical", "differs")) for line in lines)
    assert f"{metric(run):12.4f}{metric(run):12.4f}          +0" in result.stdout
    assert digests(small_study / "results") == before
    assert not list((tmp_path / "scratch").glob("verify-*"))


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="this processor has no vector instructions")
def test_other_arithmetic_gives_other_bytes_within_the_spread_and_a_warning(small_study):
    """The same code and packages on the same processor, told to compute without its vector instructions."""
    run = runs_of(small_study / "results", K2)[0]
    result = run_script(
        "verify", f"results/runs/{run.name}", cwd=small_study, env=os.environ | {"ATEN_CPU_CAPABILITY": "default"}
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "warning: same code, packages and processor, yet other bytes" in result.stderr
    lines = result.stdout.splitlines()
    assert lines[-1] == f"results/runs/{run.name}: not byte-identical, but within the seed-to-seed spread"
    assert any(line.startswith("not identical: model.safetensors") for line in lines)
    assert any(line.startswith("identical: spec.json") for line in lines)


def test_far_off_values_are_outside(results):
    """What is on record, seals and digests and all, is not what the spec gives."""
    for run in runs_of(results, K1):
        scale(run, 1.5)
        vouch(run, "evaluate", "likelihood.json")
    result = run_script("verify", runs_of(results, K1)[0].name, cwd=results.parent)
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "trained again, elbo, nll, nll_miselbo, nll_matched not within the 95% prediction interval" in errors[0]
    assert "OUTSIDE" in result.stdout
    assert "Traceback" not in result.stderr


def test_data_that_the_raw_files_do_not_give_are_refused_though_all_records_agree(results):
    run, folder = runs_of(results, K2)[0], results / "datasets/digits"
    spec = measured(run)
    verify_origin(folder, spec)
    with np.load(folder / "data.npz") as file:
        arrays = dict(file)
    np.savez(folder / "data.npz", **arrays | {"x_test_binary": 0 * arrays["x_test_binary"]})
    write_json(folder / "dataset.json", read_json(folder / "dataset.json") | {"sha256": sha256(folder / "data.npz")})
    for record in run.rglob("provenance/*.json"):
        facts = read_json(record)
        facts["inputs"] |= {name: sha256(folder / Path(name).name) for name in facts["inputs"] if "/datasets/" in name}
        write_json(record, facts | {"seal": seal(facts)})
    result = run_here("verify", run.name, cwd=results.parent)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "results/datasets/digits/data.npz: x_test_binary is not what the raw files give; " in last
    assert "train again" not in result.stderr


def test_what_raw_files_must_be(results):
    run, folder = runs_of(results, K2)[0], results / "datasets/digits"
    spec = measured(run)
    raw = folder / "raw/digits.csv.gz"
    content = raw.read_bytes()
    raw.write_bytes(content + b"\0")
    with pytest.raises(UserError, match=r"digits\.csv\.gz: not the published file"):
        verify_origin(folder, spec)
    raw.unlink()
    with pytest.raises(UserError, match=r"digits\.csv\.gz: no such file"):
        verify_origin(folder, spec)
    raw.write_bytes(content)
    meta = read_json(folder / "dataset.json")
    write_json(folder / "dataset.json", meta | {"label_names": meta["label_names"][::-1]})
    with pytest.raises(UserError, match=r"dataset\.json: it is not what the raw files give"):
        verify_origin(folder, spec)
    with pytest.raises(UserError, match=r"digit: not in config/datasets\.yaml"):
        verify_origin(folder, spec.model_copy(update={"dataset": "digit"}))


@pytest.mark.parametrize("file", ["model.safetensors", "likelihood.json", "latents.h5ad", "history.csv"])
def test_changed_files_are_refused_before_anything_is_trained(results, file):
    run = runs_of(results, K2)[0]
    path = find(run, file)
    with path.open("ab") as stream:
        stream.write(b" ")
    said = refusal("verify", run.name, cwd=results.parent)
    assert said.startswith(f"{path.relative_to(results.parent)}: not what rule ")


def test_other_data_specs_and_weights_are_refused(results):
    run, other = runs_of(results, K2)
    shutil.copyfile(other / "model.safetensors", run / "model.safetensors")
    vouch(run, "train", "model.safetensors")
    with pytest.raises(UserError, match=r"model.safetensors: not what rule evaluate has read"):
        recorded_jobs(run)
    shutil.copyfile(runs_of(results, K1)[0] / "spec.json", other / "spec.json")
    with pytest.raises(UserError, match=r"spec\.json: the spec of run digits-vae-K1-"):
        recorded_jobs(other)
    data = results / "datasets/digits"
    (data / "data.npz").write_bytes(b"")
    with pytest.raises(UserError, match=r"data\.npz: not the data that"):
        verify_data(run, data)
    find(run, "provenance/latents.json").unlink()
    (run / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors: .* found no such file"):
        recorded_jobs(run)
    (runs_of(results, K1)[0] / "provenance/train.json").write_text("[]")
    with pytest.raises(UserError, match=r"train\.json: cannot be read"):
        recorded_jobs(runs_of(results, K1)[0])


DEEP = '{"a":' * 100_000


@pytest.mark.parametrize("content", [DEEP, "[]", "", "{}", '{"inputs": 3, "outputs": {}}', '{"host": "\\ud800"}', None])
@pytest.mark.parametrize("file", ["provenance/train.json", "provenance/evaluate.json", "spec.json", "likelihood.json"])
def test_whatever_a_file_holds_it_is_one_line(results, file, content):
    run = runs_of(results, K2)[0]
    other, path = runs_of(results, K2)[1], find(run, file)
    spec = measured(other)
    assert likelihoods([run, other]) == siblings(other, spec)
    path.unlink()
    if content is None:
        (results.parent / "outside").write_text('{"secret": 1}')
        path.symlink_to(results.parent / "outside")
    else:
        path.write_text(content)
    if file == "likelihood.json":
        vouch(run, "evaluate", file)
    with pytest.raises(UserError) as caught:
        recorded_jobs(run)
    assert len(str(caught.value).splitlines()) == 1
    assert likelihoods([other]) == siblings(other, spec)


def test_a_deep_record_is_one_line_of_the_script(results):
    run = runs_of(results, K2)[0]
    (run / "provenance/train.json").write_text(DEEP)
    assert refusal("verify", run.name, cwd=results.parent)


@pytest.mark.parametrize(
    "entry", [None, {}, {"value": None, "stderr": 1}, {"value": "1", "stderr": 1}, {"value": 10**400, "stderr": 1}]
)
def test_likelihoods_that_are_no_numbers_are_refused_before_anything_is_trained(results, entry):
    run = runs_of(results, K2)[0]
    content = read_json(find(run, "likelihood.json"))
    content["metrics"]["nll"] = entry
    find(run, "likelihood.json").write_text(json.dumps(content))
    vouch(run, "evaluate", "likelihood.json")
    with pytest.raises(UserError):
        recorded_jobs(run)


def test_what_strangers_write_cannot_steer_the_terminal(results):
    facts = read_json(runs_of(results, K1)[0] / "provenance/train.json")
    evil = {"device": "\x1b[2J\nnext", "packages": {"\x1b[2J": "\n"}}
    assert all(letter.isprintable() for line in differences(facts | evil, facts) for letter in line)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "RUN is empty"),
        ("digits-vae", "4 runs begin with 'digits-vae': "),
        ("digit-constant-K1-standard-none-s0-12345678", "(did you mean 'digits-constant-"),
        ("results/runs/none", "results/runs/none: no run there"),
    ],
)
def test_a_mistaken_name_is_one_line(small_study, name, message):
    assert message in refusal("verify", name, cwd=small_study)


def test_a_run_is_found_by_id_beginning_and_path(small_study, monkeypatch):
    monkeypatch.chdir(small_study)
    run = runs_of(Path("results"), CONTROL)[0]
    for name in (run.name, "digits-con", str(run)):
        assert find_run(name, Path("results/runs")) == run


def test_seeds_are_found_by_their_specs_and_not_by_names(results):
    seeds = runs_of(results, K2)
    shutil.copytree(seeds[0], results / "runs/digits-vae-K2-copy")  # of the same seed under another name: no seed more
    spec = measured(seeds[0])
    assert siblings(seeds[0], spec) == siblings(seeds[1], spec) == likelihoods(seeds)
    assert siblings(seeds[0], spec.measured_by({"samples": 60})) == []  # nobody has measured them so
    control = runs_of(results, CONTROL)[0]
    assert siblings(control, measured(control)) == likelihoods(runs_of(results, CONTROL))
    scale(seeds[1], 2)  # no longer what its record says
    assert siblings(seeds[0], spec) == likelihoods(seeds[:1])


def test_the_prediction_interval_is_that_of_the_textbook():
    """t for 2 degrees of freedom at 0.975 is 4.303, for 1 it is 12.706; the sd of 1, 2, 3 is 1, of 0, 1 it is √½."""
    low, high = prediction_interval([1, 2, 3])
    assert (low, high) == pytest.approx((2 - 4.302653 * (4 / 3) ** 0.5, 2 + 4.302653 * (4 / 3) ** 0.5))
    low, high = prediction_interval([0, 1])
    assert (low, high) == pytest.approx((0.5 - 12.706205 * 0.5**0.5 * 1.5**0.5, 0.5 + 12.706205 * 0.5**0.5 * 1.5**0.5))


def test_the_prediction_interval_holds_what_it_promises():
    rng = np.random.default_rng(0)
    draws = rng.normal(3, 2, (4000, 5))
    held = [low <= new <= high for *seen, new in draws for low, high in [prediction_interval(seen)]]
    assert np.mean(held) == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / 4000) ** 0.5)


def test_one_seed_is_judged_by_the_spread_over_test_points(results):
    run = runs_of(results, K1)[0]
    again = results / "again"
    shutil.copytree(run, again)
    entry = read_json(find(run, "likelihood.json"))["metrics"]["nll"]
    for factor, within in ((1.9, True), (2.0, False)):
        content = read_json(find(run, "likelihood.json"))
        content["metrics"]["nll"]["value"] = entry["value"] + factor * entry["stderr"]
        write_json(find(again, "likelihood.json"), content)
        judged, by = judge(*likelihoods([run, again]), likelihoods([run]))
        assert "no other seed" in by
        assert {row.metric: row.within for row in judged} == {
            "elbo": True, "nll": within, "nll_miselbo": True, "nll_matched": True
        }  # fmt: skip
        assert ("OUTSIDE" in "\n".join(table(judged))) != within


def test_a_clock_makes_no_difference_and_a_bound_does(results):
    run = runs_of(results, K1)[0]
    jobs = recorded_jobs(run)
    again = results / "again"
    shutil.copytree(run, again)
    lines = (run / "history.csv").read_text().splitlines()
    assert lines[0].endswith(",seconds")
    (again / "history.csv").write_text("\n".join([lines[0], *(f"{line.rpartition(',')[0]},9.0" for line in lines[1:])]) + "\n")
    assert all(same_files(run, again, jobs).values())
    (again / "history.csv").write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    (again / "training.json").write_text(json.dumps({}))
    assert [name for name, same in same_files(run, again, jobs).items() if not same] == ["history.csv", "training.json"]


def test_what_may_explain_other_bytes_is_named(results):
    facts = read_json(runs_of(results, K1)[0] / "provenance/train.json")
    assert differences(facts, facts | {"host": "elsewhere", "start": "later"}) == []
    packages = facts["packages"] | {"torch": "1.0", "new": "2"}
    found = differences(facts, facts | {"packages": packages, "device": "Z80", "code_sha256": "f" * 64})
    assert f"device: {facts['device']} on record, Z80 now" in found
    assert f"code_sha256: {facts['code_sha256'][:12]} on record, ffffffffffff now" in found
    assert f"packages: new none to 2, torch {facts['packages']['torch']} to 1.0" in found
