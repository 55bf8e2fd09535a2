"""Snakemake for real: a study from config to figures, interrupted, failing, repeated."""

import signal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from support.project import complaint, run_script
from support.studies import (
    AIS,
    BLOCK,
    ENDLESS,
    MEASURED,
    SMALL,
    ablation,
    call,
    command_of,
    family_of,
    find,
    finish,
    jobs,
    kill,
    running,
    snakemake,
    until,
    write_config,
)

from mixvae.files import read_json, sha256
from mixvae.review.audit import audit
from mixvae.review.audit.findings import FAILURE
from mixvae.study import load, outputs
from mixvae.summary.results import read_study

# what measures time, memory or the machine is apart
TIMED = ("provenance", "logs", "benchmarks", "manifest.json")


def contents(results: Path) -> dict[str, str]:
    """Digest of every result file that must not differ between two machines' clocks."""
    found = {}
    for path in sorted(results.rglob("*")):
        name = path.relative_to(results)
        if path.is_file() and not set(name.parts) & set(TIMED) and path.suffix not in (".h5ad", ".csv", ".parquet"):
            found[str(name)] = sha256(path)
    return found


def test_a_study_runs_from_config_to_headline(small_study):
    said = (small_study / "said").read_text()
    assert "4 runs and 1 controls on digits; 0 skipped" in said
    assert "digits: nats per test point" in said
    assert "results: results/small/" in said


def test_every_contract_file_is_there(small_study):
    results = small_study / "results"
    for run, spec in load(small_study / "small.yaml").runs.items():
        made = {"train": ["spec.json", "model.safetensors", "history.csv"], "evaluate": ["likelihood.json", "pointwise.npz"]}
        made |= {"latents": ["latents.h5ad", "latent_metrics.json"]} if spec.model == "vae" else {}
        made |= {"bracket": ["bracket.json", "bracket.npz"]} if spec.annealing else {}
        for rule, files in made.items():
            folder = results / "runs" / run / ("." if rule == "train" else f"measured/{spec.measurement(rule)}")
            files += [f"logs/{rule}.log", f"benchmarks/{rule}.tsv", f"provenance/{rule}.json"]
            assert not [file for file in files if not (folder / file).is_file()], folder
    assert {path.stem for path in (results / "small/provenance").iterdir()} == {"study", "tabulate", "figures"}
    assert {path.stem for path in (results / "datasets/digits/provenance").iterdir()} == {"download", "prepare"}
    kinds = ("ablation", "comparisons", "ranking", "latent", "published", "gaps")
    tables = {path.name for path in (results / "small/tables").iterdir()}
    assert tables == {f"{kind}_digits.{end}" for kind in kinds for end in ("csv", "md", "tex")}
    kinds = ("samples", "reconstructions", "gaps", "nll", "comparisons", "ranking", "training")
    figures = {path.name for path in (results / "small/figures").iterdir() if path.stat().st_size > 5000}
    assert figures == {f"{kind}_digits.{end}" for kind in kinds for end in ("png", "pdf")}


SMALL_NETS = {"encoder": {"hidden": [8]}, "decoder": {"hidden": [8]}, "training": {"epochs": 2, "warmup": 1, "points": 200},
              "evaluation": {"samples": 30, "points": 40, "probe_points": 100, "ais": "none"}}  # fmt: skip
ANNEALED = {"evaluation": {**SMALL_NETS["evaluation"], "ais": AIS}}


def test_every_kind_of_data_and_system_goes_from_config_to_tables_and_figures(workspace):
    """Own images, cells, a mixture, a density and digits, through systems that need tables and figures of their own."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (120, 8, 8, 3), dtype=np.uint8), np.arange(120) % 3
    np.savez(workspace / "colours.npz", x=images, y=labels)
    blocks = [
        {"dataset": "colours.npz", "likelihood": "logistics", "K": 1, "latent": 3,
         "encoder": {"name": "conv", "layers": [[4, 3, 2]], "activation": "relu"},
         "decoder": {"name": "deconv", "layers": [[4, 3, 2]]}},
        {"dataset": "digits", "model": "mvae", "K": 2, "latent": 2},
        {"dataset": ["digits"], "model": "cpvae", "likelihood": "bernoulli", "K": 3, "latent": 3, **ANNEALED},
        {"dataset": "toy1d", "model": "cpvae", "likelihood": "gaussian", "K": 2, "latent": 3},
        {"dataset": "pbmc68k_reduced", "likelihood": "zinb", "K": 2, "latent": 3,
         "prior": {"name": "vamp", "components": 10}, "flow": {"name": "iaf", "hidden": [8]}, **ANNEALED},
    ]  # fmt: skip
    ring = {name: SMALL_NETS[name] for name in ("training", "evaluation")}
    blocks = [*({**SMALL_NETS, **block} for block in blocks), {**ring, "dataset": "ring", "model": "toy", "K": 2}]
    finish(ablation(write_config(workspace, *blocks, study="systems", include=[])), workspace)
    folder = workspace / "results/systems"
    expansion = read_study(folder / "study.json")
    own = next(iter(expansion.datasets))
    assert own.startswith("colours-")
    assert (workspace / f"results/datasets/{own}/data.npz").is_file()
    tables = {path.name for path in (folder / "tables").iterdir()}
    stems = outputs.tables(expansion.runs.values(), expansion.datasets)
    assert tables == {f"{stem}.{end}" for stem in stems for end in ("csv", "md", "tex")}
    assert {"density_ring", "components_digits", "reconstruction_digits", f"published_{own}"} <= set(stems)
    figures = {path.name for path in (folder / "figures").iterdir() if path.stat().st_size > 3000}
    stems = outputs.figures(expansion.runs.values(), expansion.datasets)
    assert figures == {f"{stem}.{end}" for stem in stems for end in ("png", "pdf")}
    assert {"density_ring", "histograms_toy1d", "categories_digits", "maps_digits", "accuracy_digits"} <= set(stems)
    assert {"umap_pbmc68k_reduced", "gaps_pbmc68k_reduced"} <= set(stems)
    metrics = pd.read_csv(folder / "metrics.csv").set_index(["model", "dataset", "metric"])["value"]
    assert metrics["vae", own, "bpd"].iloc[0] > 0
    assert metrics["mvae", "digits", "mse"].notna().all()
    assert 0 <= metrics["cpvae", "digits", "cluster_accuracy"].iloc[0] <= 1
    assert metrics["toy", "ring", "kl"].iloc[0] > 0
    assert not audit(folder).of(FAILURE)
    latents_open_in_scanpy(next(workspace.glob("results/runs/pbmc68k_reduced-vae-K2-vamp-iaf-*")))
    # the file moved, and nothing has to be made again
    (workspace / "colours.npz").rename(workspace / "moved.npz")
    (workspace / "mirror").mkdir()
    (workspace / "moved.npz").rename(workspace / "mirror/colours.npz")
    config = write_config(workspace, *blocks, study="systems", include=[], data_mirror=str(workspace / "mirror"))
    again = finish(ablation(config), workspace)
    assert "Nothing to be done" in again.stdout + again.stderr


def latents_open_in_scanpy(run: Path) -> None:
    import scanpy

    cells = scanpy.read_h5ad(find(run, "latents.h5ad"))
    assert set(cells.obsm) == {"X_mu_1", "X_mu_2", "X_sigma_1", "X_sigma_2"}
    assert cells.obs["part"].value_counts().to_dict() == {"train": 100, "test": 40}
    assert cells.obs["label"].nunique() == 10
    np.testing.assert_allclose(cells.X, (cells.obsm["X_mu_1"] + cells.obsm["X_mu_2"]) / 2, rtol=1e-5, atol=1e-6)


def test_metrics_are_tidy_and_agree_with_the_runs(small_study):
    results = small_study / "results"
    metrics = pd.read_csv(results / "small/metrics.csv")
    columns = "run,dataset,model,K,prior,flow,seed,metric,value,stderr,unit,measurement,mc_error"
    assert ",".join(metrics.columns) == columns
    parquet = pd.read_parquet(results / "small/metrics.parquet")
    pd.testing.assert_frame_equal(metrics.fillna({"measurement": ""}), parquet, check_dtype=False)
    assert metrics.run.nunique() == 5
    assert not metrics.duplicated(["run", "metric"]).any()
    specs = load(small_study / "small.yaml").runs
    for run, rows in metrics.groupby("run"):
        measured = {rule: specs[run].measurement(rule) for rule in ("evaluate", "latents")}
        assert set(rows.measurement[rows.metric.isin(["nll", "elbo", "ess"])]) == {measured["evaluate"]}
        assert rows.measurement[rows.metric.isin(["active_units", "ari"])].isin([measured["latents"]]).all()
        assert rows.measurement[rows.metric.isin(["epochs", "train_seconds"])].isna().all()
        values = rows.set_index("metric")["value"]
        with np.load(find(results / "runs" / run, "pointwise.npz")) as pointwise:
            assert values["nll"] == pytest.approx(pointwise["nll"].mean())
            assert values["elbo"] == pytest.approx(pointwise["elbo"].mean())
        assert values["nll"] <= values["nll_miselbo"] + 1e-9 <= -values["elbo"] + 2e-9
    wanted = "elbo nll nll_miselbo nll_matched bpd ess pareto_k jsd reconstruction kl active_units accuracy_svm accuracy_knn"
    wanted += " accuracy_mlp ari nmi asw_true parameters train_seconds peak_memory_mb"
    assert set(wanted.split()) <= set(metrics[(metrics.dataset == "digits") & (metrics.model == "vae")].metric)


def test_tables_are_the_means_of_the_runs(small_study):
    results = small_study / "results/small"
    metrics = pd.read_csv(results / "metrics.csv")
    cells = pd.read_csv(results / "tables/ablation_digits.csv").set_index(["column", "metric", "K"])
    table = cells.loc["standard+none"]
    vae = metrics[metrics.model == "vae"]
    for K in (1, 2):
        values = vae[(vae.K == K) & (vae.metric == "nll")].value
        row = table.loc["nll", K]
        assert row["mean"] == pytest.approx(values.mean())
        assert (row.low, row.high) == pytest.approx((values.min(), values.max()))
        assert row.seeds == 2
    delta = table.loc["nll_matched", 2]
    assert delta.delta == pytest.approx(delta["mean"] - table.loc["nll_matched", 1]["mean"])
    assert delta.delta_low < delta.delta < delta.delta_high
    assert (table.loc["-elbo"]["mean"] > table.loc["nll"]["mean"]).all()
    text = (results / "tables/ablation_digits.md").read_text()
    assert f"{delta['mean']:.3f}" in text
    assert "**" in text
    assert "control" in text
    assert r"\toprule" in (results / "tables/ablation_digits.tex").read_text()


def test_provenance_chains_inputs_to_outputs(small_study):
    run = next(path for path in (small_study / "results/runs").iterdir() if "vae-K2" in path.name)
    train, evaluate = (read_json(find(run, f"provenance/{rule}.json")) for rule in ("train", "evaluate"))
    prepare = read_json(next((small_study / "results/datasets").glob(f"{train['spec']['dataset']}/provenance/prepare.json")))
    model = f"results/runs/{run.name}/model.safetensors"
    assert train["outputs"][model] == evaluate["inputs"][model] == sha256(small_study / model)
    assert all(prepare["outputs"][name] == digest for name, digest in train["inputs"].items())
    assert train["spec"] == read_json(run / "spec.json")
    assert len(train["code_sha256"]) == 64
    assert {"torch", "snakemake", "numpy"} <= set(train["packages"])
    for key in ("git", "host", "device", "start", "seconds", "peak_memory_mb", "command", "slurm_job_id", "seed"):
        assert key in train
    tabulate, likelihood = (
        read_json(small_study / "results/small/provenance/tabulate.json"),
        str(find(run, "likelihood.json").relative_to(small_study)),
    )
    assert tabulate["inputs"][likelihood] == evaluate["outputs"][likelihood]


def test_a_second_call_has_nothing_to_do_and_shows_the_table_again(study_copy):
    before = {path: path.stat().st_mtime_ns for path in (study_copy / "results").rglob("*") if path.is_file()}
    result = finish(ablation(study_copy / "small.yaml"), study_copy)
    assert "Nothing to be done" in result.stdout + result.stderr
    assert "digits: nats per test point" in result.stdout
    assert before == {path: path.stat().st_mtime_ns for path in (study_copy / "results").rglob("*") if path.is_file()}


ONE = {**SMALL, "K": 2, "seed": 0}
"""One of the runs of SMALL."""
OTHERWISE = {"evaluation": {**SMALL["evaluation"], "samples": 60}}
MORE_SAMPLES = {**ONE, **OTHERWISE}


def files_of(folder: Path) -> dict[Path, int]:
    """Return when every file was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_measuring_in_another_way_trains_nothing_and_keeps_the_first_measurement(study_copy):
    first, before = study_copy / "small.yaml", files_of(study_copy / "results/runs")
    content, metrics = contents(study_copy / "results/runs"), (study_copy / "results/small/metrics.csv").read_bytes()
    text = first.read_text()
    failed = audit(study_copy / "results/small", load(write_config(study_copy, {**SMALL, **OTHERWISE}))).of(FAILURE)
    assert sum("is not measured as the config says" in finding.message for finding in failed) == len(failed) == 4
    config = write_config(study_copy, MORE_SAMPLES)
    planned = jobs(finish(snakemake(config, "-n"), study_copy))
    # the latent codes do not depend on the samples, and the control is measured exactly
    assert planned == {"evaluate": 1, "study": 1, "tabulate": 1, "figures": 1, "all": 1, "total": 5}
    finish(ablation(config, *MEASURED), study_copy)
    after = files_of(study_copy / "results/runs")
    assert before.items() <= after.items()
    assert content.items() <= contents(study_copy / "results/runs").items()
    new = sorted(str(path.relative_to(study_copy / "results/runs")) for path in after.keys() - before.keys())
    for run, spec in load(config).runs.items():
        folder = f"{run}/measured/{spec.measurement('evaluate')}/"
        here = [name.removeprefix(folder) for name in new if name.startswith(folder)]
        made = ["benchmarks/evaluate.tsv", "likelihood.json", "logs/evaluate.attempts.log", "logs/evaluate.log"]
        assert here == ([] if spec.is_control else [*made, "pointwise.npz", "provenance/evaluate.json"])
    assert len(new) == 6
    # and back
    first.write_text(text)
    page = study_copy / "results/small/report.html"
    page.touch()
    back = finish(ablation(first), study_copy)
    assert jobs(back).keys() == {"study", "tabulate", "figures", "all", "total"}
    assert "results/small/report.html was made before these results: make report makes it again" in back.stdout
    page.unlink()
    assert (study_copy / "results/small/metrics.csv").read_bytes() == metrics
    assert not audit(study_copy / "results/small", load(first)).of(FAILURE)


def test_a_second_study_that_measures_the_same_runs_otherwise_does_not_disturb_the_first(study_copy):
    first, before = study_copy / "small.yaml", files_of(study_copy / "results")
    found = [str(finding) for finding in audit(study_copy / "results/small", load(first)).all]
    other = write_config(study_copy, MORE_SAMPLES, study="other")
    done = jobs(finish(ablation(other), study_copy))
    assert done == {"evaluate": 1, "study": 1, "tabulate": 1, "figures": 1, "all": 1, "total": 5}
    after = files_of(study_copy / "results")
    assert before.items() <= after.items()
    assert [str(finding) for finding in audit(study_copy / "results/small", load(first)).all] == found
    assert not audit(study_copy / "results/other", load(other)).of(FAILURE)
    ours, theirs = (pd.read_csv(study_copy / f"results/{study}/metrics.csv") for study in ("small", "other"))
    keys = ["run", "metric"]
    both = ours.merge(theirs, on=keys, suffixes=("", "_other"), validate="one_to_one")
    assert len(both) == len(theirs) == len(ours[ours.run.isin(theirs.run)])
    evaluated = (both.metric.isin(["nll", "elbo", "ess"])) & (both.model == "vae")
    assert (both.measurement != both.measurement_other)[evaluated].all()
    assert (both.value != both.value_other)[evaluated].all()
    same = both[both.metric.isin(["ari", "accuracy_svm", "epochs"]) | (both.model == "constant")]
    pd.testing.assert_series_equal(same.value, same.value_other, check_names=False)
    # a run is verified with all its measurements
    run = next(run for run, spec in load(other).runs.items() if not spec.is_control)
    verified = run_script("verify", run, cwd=study_copy)
    assert verified.returncode == 0, verified.stderr
    said = [line for line in verified.stdout.splitlines() if line.startswith("measured with")]
    assert sorted(said) == [f'measured with {{"points":null,"samples":{samples}}}' for samples in (50, 60)]
    assert verified.stdout.splitlines()[-1] == f"results/runs/{run}: byte-identical"
    again = finish(ablation(first), study_copy)
    assert "Nothing to be done" in again.stdout + again.stderr
    # the first study, told to measure in the same way, has it done already
    planned = jobs(finish(snakemake(write_config(study_copy, MORE_SAMPLES), "-n"), study_copy))
    assert planned.keys() == {"study", "tabulate", "figures", "all", "total"}


def test_the_same_study_killed_half_way_and_resumed_gives_the_same_bytes(small_study, workspace):
    config = write_config(workspace, {**SMALL, "seed": 0})
    with running(ablation(config, *MEASURED), workspace) as child:
        until(lambda: child.poll() is not None or list(workspace.glob("results/runs/*/measured/*/likelihood.json")))
        assert child.poll() is None
    evaluated = [path.parents[2] for path in workspace.glob("results/runs/*/measured/*/likelihood.json")]
    finished = {run / "model.safetensors": (run / "model.safetensors").stat().st_mtime_ns for run in evaluated}
    assert 1 <= len(finished) < 3
    resumed = finish(ablation(config, *MEASURED), workspace)
    assert "releasing its lock" in resumed.stdout
    assert finished == {path: path.stat().st_mtime_ns for path in finished}
    ours, theirs = contents(workspace / "results"), contents(small_study / "results")
    assert len({Path(name).parts[1] for name in ours if name.startswith("runs/")}) == 3
    assert ours == {name: theirs[name] for name in ours}
    history = next(workspace.glob("results/runs/*vae-K2*/history.csv")).relative_to(workspace)
    a, b = (pd.read_csv(root / history).drop(columns="seconds") for root in (workspace, small_study))
    pd.testing.assert_frame_equal(a, b, check_exact=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_all_processes_and_releases_the_lock(prepared_workspace, number):
    with running(ablation(write_config(prepared_workspace, ENDLESS)), prepared_workspace) as child:
        until(lambda: sum("scripts/train.py" in command_of(process) for process in family_of(child.pid)) >= 2)
        family = family_of(child.pid)[1:]
        child.send_signal(number)  # to this process alone, as `kill` does
        assert child.wait(600) == 130
        said = (prepared_workspace / "head.log").read_text()
        assert said.splitlines()[-1] == "interrupted; the same command goes on from here"
        try:
            assert not psutil.wait_procs(family, timeout=60)[1]
        finally:
            kill(family)
    assert not list((prepared_workspace / ".snakemake").glob("locks/*"))


def test_a_failed_run_leaves_a_hole_and_its_log_and_fails_the_study(study_copy):
    diverging = {"K": 3, "training": {"epochs": 3, "warmup": 2, "learning_rate": 1e30}}
    config = write_config(study_copy, SMALL, {**ONE, **diverging})
    result = call(ablation(config), study_copy)
    assert result.returncode != 0
    failures = pd.read_csv(study_copy / "results/small/failures.csv")
    assert len(failures) == 1
    assert (failures.rule == "train").all()
    assert failures.log.str.contains("training diverged, lower training.learning_rate").all()
    assert not failures.log.str.contains("Traceback").any()
    table = (study_copy / "results/small/tables/ablation_digits.md").read_text()
    assert "missing (0 of 1)" in table
    assert "1 runs are missing" in result.stdout
    assert pd.read_csv(study_copy / "results/small/metrics.csv").run.nunique() == 5
    # the next call tries them again and still ends with the holes
    assert call(ablation(config), study_copy).returncode != 0


def test_changed_prepared_data_is_named_and_never_trained_on(prepared_workspace):
    folder = prepared_workspace
    change(folder / "results/datasets/digits/data.npz")
    spec = next(iter(load(write_config(folder, BLOCK)).runs.values()))
    result = run_script(
        "train", "--spec", spec.canonical(), "--data", "results/datasets/digits", "--run", "results/runs/x", cwd=folder
    )
    assert complaint(result).startswith(
        "error: results/datasets/digits/data.npz: changed since it was prepared, sha256 expected"
    )
    assert not (folder / "results/runs/x").exists()


def change(path: Path, place: int = 1000) -> None:
    """Flip a bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("file", "script", "arguments"),
    [
        ("model.safetensors", "evaluate", ["--run", "RUN", "--data", "results/datasets/digits"]),
        ("model.safetensors", "latents", ["--run", "RUN", "--data", "results/datasets/digits"]),
        ("likelihood.json", "tabulate", ["--study", "results/small/study.json", "--runs", "results/runs"]),
        ("pointwise.npz", "tabulate", ["--study", "results/small/study.json", "--runs", "results/runs"]),
        ("latent_metrics.json", "tabulate", ["--study", "results/small/study.json", "--runs", "results/runs"]),
    ],
)
def test_a_changed_result_is_refused_by_the_rule_that_reads_it(study_copy, file, script, arguments):
    run = sorted((study_copy / "results/runs").glob("digits-vae-*"))[0].relative_to(study_copy)
    changed = find(study_copy / run, file)
    change(changed, -3)
    before = contents(study_copy / "results")
    arguments = [str(run) if word == "RUN" else word for word in arguments]
    result = run_script(script, *arguments, cwd=study_copy)
    assert complaint(result).startswith(f"error: {changed.relative_to(study_copy)}: not what rule ")
    assert contents(study_copy / "results") == before
    if script == "tabulate":  # after a failure the run is a hole like any other, with the reason
        assert run_script(script, *arguments, "--allow-missing", cwd=study_copy).returncode == 0
        [failure] = pd.read_csv(study_copy / "results/small/failures.csv").to_dict("records")
        assert failure["run"] == run.name
        assert f"{file}: not what rule" in failure["log"]
        assert run.name not in set(pd.read_csv(study_copy / "results/small/metrics.csv").run)


def test_plain_snakemake_does_not_take_a_config_without_a_study_for_the_demo(workspace):
    path = write_config(workspace, BLOCK)
    path.write_text(path.read_text().replace("study: small", ""))
    result = call(snakemake(path, "-n"), workspace)
    assert result.returncode != 0
    assert "study: this key is required" in result.stdout + result.stderr


def test_plain_snakemake_names_a_bad_config_without_a_traceback(workspace):
    result = call(snakemake(write_config(workspace, BLOCK, studdy=1), "-n"), workspace)
    assert result.returncode != 0
    assert "studdy: unknown key 'studdy' (did you mean 'study'?)" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_a_study_named_on_the_command_line_is_not_merged_with_the_demo(workspace):
    counts = jobs(finish(snakemake(write_config(workspace, BLOCK), "-n"), workspace))
    assert (counts["train"], counts["evaluate"], counts["latents"]) == (3, 3, 2)


def test_changed_data_costs_no_result_and_repaired_retrains_nothing(study_copy):
    config = study_copy / "small.yaml"
    before = contents(study_copy / "results")
    models = {path: path.stat().st_mtime_ns for path in study_copy.glob("results/runs/*/model.safetensors")}
    data = study_copy / "results/datasets/digits/data.npz"
    change(data)
    refused = call(ablation(config), study_copy)
    assert complaint(refused).startswith(
        "error: results/datasets/digits/data.npz: changed since it was prepared, sha256 expected"
    )
    data.unlink()
    assert "found no file; repair it: python scripts/prepare.py --dataset digits" in call(ablation(config), study_copy).stderr
    repair = refused.stderr.strip().rsplit("repair it: python ", 1)[1].split()
    finish([sys.executable, *repair], study_copy)
    again = finish(ablation(config), study_copy)
    assert "Nothing to be done" in again.stdout + again.stderr
    assert contents(study_copy / "results") == before
    assert models == {path: path.stat().st_mtime_ns for path in models}
