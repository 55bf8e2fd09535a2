"""Runs as version 0.1 left them are taken over: the same bytes in their new places, an audit that passes, nothing done again."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from support.studies import ablation, finish, jobs, snakemake

from mixvae.cluster.takeover import take_over
from mixvae.files import canonical_json, read_json, sha256, write_json
from mixvae.provenance import seal
from mixvae.review.audit import audit
from mixvae.review.audit.findings import FAILURE, WARNING
from mixvae.review.verification import find_run
from mixvae.study import Run, load
from mixvae.study.jobs import RUN_FILES, record_of, rules_of, run_file

RUNS = Path("results/runs")
OTHER_CODE = "0" * 64
OF_THE_STUDY = {"all", "study", "tabulate", "figures", "total"}
"""Jobs that are done again, since the study has new names for its runs."""


def former_id(spec: Run) -> str:
    """Return the id that version 0.1 gave a run, which also depended on how the run is measured."""
    digest = hashlib.sha256(canonical_json(spec.model_dump(mode="json")).encode()).hexdigest()
    return f"{spec.id.rpartition('-')[0]}-{digest[:8]}"


def make_old(runs: dict[str, Run]) -> None:
    """Give finished runs and their study the layout of version 0.1: former ids, and a run's files all in one folder."""
    for run, spec in runs.items():
        for path in sorted((RUNS / run).glob("measured/*/**/*")):
            if not path.is_dir():
                path.rename(RUNS / run / Path(*path.relative_to(RUNS / run).parts[2:]))
        shutil.rmtree(RUNS / run / "measured")
        old = (RUNS / run).rename(RUNS / former_id(spec))
        written = (old / "spec.json").stat().st_mtime_ns
        write_json(old / "spec.json", spec.model_dump(mode="json"))
        os.utime(old / "spec.json", ns=(written, written))
        for record in old.glob("provenance/*.json"):
            facts = read_json(record)
            for part in ("inputs", "outputs"):
                facts[part] = dict(as_of_old(name, digest, run, old) for name, digest in facts[part].items())
            facts |= {"spec": spec.model_dump(mode="json"), "code_sha256": OTHER_CODE}
            facts.pop("settings", None)
            write_json(record, facts | {"seal": seal(facts)})
    study = Path("results/small")
    (study / "study.json").write_text(as_named_of_old((study / "study.json").read_text(), runs))
    for rule in ("study", "tabulate", "figures"):
        facts = json.loads(as_named_of_old((study / f"provenance/{rule}.json").read_text(), runs))
        for part in ("inputs", "outputs"):
            facts[part] = {name: sha256(name) for name in facts[part]}
        write_json(study / f"provenance/{rule}.json", facts | {"seal": seal(facts)})


def as_named_of_old(text: str, runs: dict[str, Run]) -> str:
    for run, spec in runs.items():
        text = re.sub(rf"{run}(/measured/\w+)?", former_id(spec), text)
    return text


def as_of_old(name: str, digest: str, run: str, old: Path) -> tuple[str, str]:
    if f"/{run}/" not in name:
        return name, digest
    path = old / Path(name).name
    return str(path), sha256(path)


@pytest.fixture
def old_study(study_copy, monkeypatch) -> dict[str, Run]:
    """The runs of a finished study of version 0.1, in the working directory; Snakemake remembers nothing of their new places."""
    monkeypatch.chdir(study_copy)
    shutil.rmtree(".snakemake")
    runs = load(Path("small.yaml")).runs
    make_old(runs)
    assert {path.name for path in RUNS.iterdir()} == {former_id(spec) for spec in runs.values()}
    assert not list(RUNS.glob("*/measured"))
    return runs


def test_everything_is_where_it_belongs_and_nothing_is_done_again(old_study):
    assert sum(former_id(spec) == run for run, spec in old_study.items()) == 1  # the control's
    dry_run = snakemake(Path("small.yaml"), "-n")
    assert {"train": 4, "evaluate": 5, "latents": 4}.items() <= jobs(finish(dry_run, Path.cwd())).items()
    before = {path: sha256(path) for path in RUNS.rglob("*") if path.is_file()}
    assert take_over(RUNS, old_study) == len(old_study) == 5
    for run, spec in old_study.items():
        old = RUNS / former_id(spec)
        for rule in rules_of(spec):
            for name in RUN_FILES[rule]:
                new = run_file(name, spec, RUNS / run)
                assert new.stat().st_mtime_ns == (old / name).stat().st_mtime_ns
                assert sha256(new) == before[old / name] or name == "spec.json"
            facts = read_json(record_of(rule, spec, RUNS / run))
            assert facts["seal"] == seal(facts)
            assert facts["code_sha256"] == OTHER_CODE
            assert facts["spec"] == spec.training_spec() == read_json(RUNS / run / "spec.json")
            if rule != "train":
                assert facts["settings"] == spec.measuring(rule)
            if old.name != run or rule != "train":
                assert facts["taken_over"] == str(old)
            named = facts["inputs"] | facts["outputs"]
            assert {name: sha256(name) for name in named} == named
            folder = record_of(rule, spec, RUNS / run).parents[1]
            assert (folder / f"logs/{rule}.log").read_text() == (old / f"logs/{rule}.log").read_text()
            assert (folder / f"benchmarks/{rule}.tsv").is_file()
    assert before == {path: sha256(path) for path in before}  # the old files stay
    assert jobs(finish(dry_run, Path.cwd())).keys() <= OF_THE_STUDY
    assert take_over(RUNS, old_study) == 0


def test_the_study_is_finished_from_them_and_passes_its_audit(old_study):
    config = Path("small.yaml")
    before = {path: path.stat().st_ino for path in RUNS.rglob("*") if path.name in ("model.safetensors", "pointwise.npz")}
    result = finish(ablation(config), Path.cwd())
    assert "5 runs of version 0.1 taken over: nothing of them is trained again" in result.stdout
    assert jobs(result).keys() == OF_THE_STUDY
    for run, spec in old_study.items():
        for name in ("model.safetensors", "pointwise.npz"):
            assert run_file(name, spec, RUNS / run).stat().st_ino == before[RUNS / former_id(spec) / name]
    found = audit(Path("results/small"), load(config))
    assert found.of(FAILURE) == []
    (said,) = (f.message for f in found.of(WARNING) if "other code" in f.message)
    assert said == "most results of rule train, evaluate, bracket, latents were made by other code than this checkout's"
    assert all(find_run(run.rpartition("-")[0], RUNS) == RUNS / run for run in old_study)
    again = finish(ablation(config), Path.cwd())
    assert "taken over" not in again.stdout
    assert "Nothing to be done" in again.stdout + again.stderr


@pytest.mark.parametrize(
    ("file", "kept"),
    [
        ("model.safetensors", []),
        ("likelihood.json", ["train", "bracket", "latents"]),
        ("latents.h5ad", ["train", "evaluate", "bracket"]),
    ],
)
def test_what_is_not_as_its_record_says_is_left_out_with_a_warning(old_study, file, kept, capfd):
    run, spec = next((run, spec) for run, spec in old_study.items() if spec.has_codes)
    path = RUNS / former_id(spec) / file
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    assert take_over(RUNS, old_study) == (5 if kept else 4)
    assert f"warning: not taken over: {path}: not what rule " in capfd.readouterr().err
    assert [rule for rule in rules_of(spec) if record_of(rule, spec, RUNS / run).is_file()] == kept


def test_runs_that_the_study_does_not_have_and_folders_of_other_versions_are_left(old_study):
    run = next(iter(old_study))
    (RUNS / "older").mkdir()
    (RUNS / "older/spec.json").write_text('{"evaluation": {}}')
    assert take_over(RUNS, {run}) == 1
    assert [name for name in old_study if (RUNS / name / "measured").exists()] == [run]
