"""Snakemake for real: a study from config to figures, interrupted, failing, repeated."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from conftest import ROOT

from mixvae.files import read_json, sha256
from mixvae.review.audit import audit
from mixvae.review.audit.findings import FAILURE
from mixvae.study import load, outputs
from mixvae.summary.results import read_study

TINY = {
    "study": "tiny",
    "runs": [
        {
            "dataset": "digits", "likelihood": "bernoulli", "K": [1, 2], "seed": [0, 1], "latent": 3,
            "prior": {"name": "vamp", "components": 10}, "flow": ["none", {"name": "iaf", "hidden": [8]}],
            "encoder": {"hidden": [12]}, "decoder": {"hidden": [12]},
            "training": {"epochs": 3, "warmup": 2, "batch_size": 200}, "evaluation": {"samples": 50, "probe_points": 200},
        },
        {
            "dataset": "pbmc68k_reduced", "likelihood": "zinb", "K": [1, 2], "latent": 3,
            "encoder": {"hidden": [8], "activation": "relu"}, "decoder": {"hidden": [8], "activation": "relu"},
            "training": {"epochs": 3, "warmup": 2, "batch_size": 200}, "evaluation": {"samples": 50},
        },
    ],
}  # fmt: skip
RUNS, CONTROLS = 10, 2
# what measures time, memory or the machine is apart
TIMED = ("provenance", "logs", "benchmarks", "manifest.json")


def ablation(cwd: Path, config: Path, *snakemake: str) -> subprocess.CompletedProcess:
    """Run a study as from a shell in which no environment is activated."""
    command = [sys.executable, "scripts/ablation.py", str(config), "--cores", "2", *snakemake]
    path = {"PATH": os.defpath}
    return subprocess.run(command, cwd=cwd, env=os.environ | path, capture_output=True, text=True, check=False)


def write_config(folder: Path, config: dict) -> Path:
    path = folder / f"{config['study']}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def contents(results: Path) -> dict[str, str]:
    """Digest of every result file that must not differ between two machines' clocks."""
    found = {}
    for path in sorted(results.rglob("*")):
        name = path.relative_to(results)
        if path.is_file() and not set(name.parts) & set(TIMED) and path.suffix not in (".h5ad", ".csv", ".parquet"):
            found[str(name)] = sha256(path)
    return found


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A finished tiny study and what its run printed."""
    folder = tmp_path_factory.mktemp("study")
    make_workspace(folder)
    return folder, ablation(folder, write_config(folder, TINY))


def make_workspace(folder: Path) -> None:
    for name in ("workflow", "scripts", "src", "config", "envs"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "Snakefile", folder)


def test_a_study_runs_from_config_to_headline(study):
    _, result = study
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{RUNS} runs and {CONTROLS} controls on digits, pbmc68k_reduced; 0 skipped" in result.stdout
    assert "digits: nats per test point" in result.stdout
    assert "results: results/tiny/" in result.stdout


def test_every_contract_file_is_there(study):
    folder, _ = study
    expansion = load(folder / "tiny.yaml")
    for run, spec in expansion.runs.items():
        rules = ["train", "evaluate"] + (["latents"] if spec.model == "vae" else [])
        files = ["spec.json", "model.safetensors", "history.csv", "likelihood.json", "pointwise.npz"]
        files += ["latents.h5ad", "latent_metrics.json"] if spec.model == "vae" else []
        files += [
            f"{kind}/{rule}.{end}"
            for rule in rules
            for kind, end in (("logs", "log"), ("benchmarks", "tsv"), ("provenance", "json"))
        ]
        missing = [file for file in files if not (folder / "results/runs" / run / file).is_file()]
        assert not missing, (run, missing)
    assert {path.stem for path in (folder / "results/tiny/provenance").iterdir()} == {"study", "tabulate", "figures"}
    assert {path.stem for path in (folder / "results/datasets/digits/provenance").iterdir()} == {"download", "prepare"}
    tables = {path.name for path in (folder / "results/tiny/tables").iterdir()}
    assert tables == {
        f"{kind}_{dataset}.{end}"
        for kind in ("ablation", "comparisons", "ranking", "latent", "published")
        for dataset in ("digits", "pbmc68k_reduced")
        for end in ("csv", "md", "tex")
    }
    figures = {path.name for path in (folder / "results/tiny/figures").iterdir() if path.stat().st_size > 5000}
    names = ["samples_digits", "reconstructions_digits", "umap_pbmc68k_reduced"]
    both = ("nll", "comparisons", "ranking", "training")
    names += [f"{kind}_{dataset}" for kind in both for dataset in ("digits", "pbmc68k_reduced")]
    assert figures == {f"{name}.{end}" for name in names for end in ("png", "pdf")}


SMALL_NETS = {"encoder": {"hidden": [8]}, "decoder": {"hidden": [8]}, "training": {"epochs": 2, "warmup": 1, "points": 200},
              "evaluation": {"samples": 30, "points": 40, "probe_points": 100}}  # fmt: skip


def test_every_kind_of_data_and_system_goes_from_config_to_tables_and_figures(tmp_path):
    """Own images, a one-dimensional mixture, a density and digits, through systems that need tables and figures of their own."""
    make_workspace(tmp_path)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (120, 8, 8, 3), dtype=np.uint8), np.arange(120) % 3
    np.savez(tmp_path / "colours.npz", x=images, y=labels)
    config = {
        "study": "systems",
        "runs": [
            {"dataset": "colours.npz", "likelihood": "logistics", "K": 1, "latent": 3,
             "encoder": {"name": "conv", "layers": [[4, 3, 2]], "activation": "relu"},
             "decoder": {"name": "deconv", "layers": [[4, 3, 2]]}},
            {"dataset": "digits", "model": "mvae", "K": [1, 2], "latent": 2},
            {"dataset": ["digits"], "model": "cpvae", "likelihood": "bernoulli", "K": 3, "latent": 3},
            {"dataset": "toy1d", "model": "cpvae", "likelihood": "gaussian", "K": 2, "latent": 3},
        ],
        "include": [],
    }  # fmt: skip
    config["runs"] = [{**SMALL_NETS, **block} for block in config["runs"]]
    ring = {name: SMALL_NETS[name] for name in ("training", "evaluation")}
    config["runs"].append({**ring, "dataset": "ring", "model": "toy", "K": 2})
    result = ablation(tmp_path, write_config(tmp_path, config))
    assert result.returncode == 0, result.stdout + result.stderr
    folder = tmp_path / "results/systems"
    expansion = read_study(folder / "study.json")
    own = next(iter(expansion.datasets))
    assert own.startswith("colours-")
    assert (tmp_path / f"results/datasets/{own}/data.npz").is_file()
    tables = {path.name for path in (folder / "tables").iterdir()}
    stems = outputs.tables(expansion.runs.values(), expansion.datasets)
    assert tables == {f"{stem}.{end}" for stem in stems for end in ("csv", "md", "tex")}
    assert {"density_ring", "components_digits", "reconstruction_digits", f"published_{own}"} <= set(stems)
    figures = {path.name for path in (folder / "figures").iterdir() if path.stat().st_size > 3000}
    stems = outputs.figures(expansion.runs.values(), expansion.datasets)
    assert figures == {f"{stem}.{end}" for stem in stems for end in ("png", "pdf")}
    assert {"density_ring", "histograms_toy1d", "categories_digits", "maps_digits", "accuracy_digits"} <= set(stems)
    metrics = pd.read_csv(folder / "metrics.csv").set_index(["model", "dataset", "metric"])["value"]
    assert metrics["vae", own, "bpd"].iloc[0] > 0
    assert metrics["mvae", "digits", "mse"].notna().all()
    assert 0 <= metrics["cpvae", "digits", "cluster_accuracy"].iloc[0] <= 1
    assert metrics["toy", "ring", "kl"].iloc[0] > 0
    assert not audit(folder).of(FAILURE)
    # the file moved, and nothing has to be made again
    (tmp_path / "colours.npz").rename(tmp_path / "moved.npz")
    (tmp_path / "mirror").mkdir()
    (tmp_path / "moved.npz").rename(tmp_path / "mirror/colours.npz")
    again = ablation(tmp_path, write_config(tmp_path, config | {"data_mirror": str(tmp_path / "mirror")}))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Nothing to be done" in again.stdout + again.stderr


def test_metrics_are_tidy_and_agree_with_the_runs(study):
    folder, _ = study
    metrics = pd.read_csv(folder / "results/tiny/metrics.csv")
    columns = "run,dataset,model,K,prior,flow,seed,metric,value,stderr,unit"
    assert ",".join(metrics.columns) == columns
    pd.testing.assert_frame_equal(metrics, pd.read_parquet(folder / "results/tiny/metrics.parquet"), check_dtype=False)
    assert metrics.run.nunique() == RUNS + CONTROLS
    assert not metrics.duplicated(["run", "metric"]).any()
    for run, rows in metrics.groupby("run"):
        values = rows.set_index("metric")["value"]
        with np.load(folder / f"results/runs/{run}/pointwise.npz") as pointwise:
            assert values["nll"] == pytest.approx(pointwise["nll"].mean())
            assert values["elbo"] == pytest.approx(pointwise["elbo"].mean())
        assert values["nll"] <= values["nll_miselbo"] + 1e-9 <= -values["elbo"] + 2e-9
    wanted = {
        "elbo",
        "nll",
        "nll_miselbo",
        "nll_matched",
        "bpd",
        "ess",
        "pareto_k",
        "jsd",
        "reconstruction",
        "kl",
        "active_units",
    }
    wanted |= {
        "accuracy_svm",
        "accuracy_knn",
        "accuracy_mlp",
        "ari",
        "nmi",
        "asw_true",
        "parameters",
        "train_seconds",
        "peak_memory_mb",
    }
    assert wanted <= set(metrics[(metrics.dataset == "digits") & (metrics.model == "vae")].metric)


def test_tables_are_the_means_of_the_runs(study):
    folder, _ = study
    metrics = pd.read_csv(folder / "results/tiny/metrics.csv")
    table = pd.read_csv(folder / "results/tiny/tables/ablation_digits.csv").set_index(["metric", "K"])
    vae = metrics[(metrics.dataset == "digits") & (metrics.model == "vae") & (metrics.flow == "iaf")]
    for K in (1, 2):
        values = vae[(vae.K == K) & (vae.metric == "nll")].value
        row = table.loc["nll", K]
        assert row["vamp+iaf"] == pytest.approx(values.mean())
        assert (row["vamp+iaf low"], row["vamp+iaf high"]) == pytest.approx((values.min(), values.max()))
        assert row["vamp+iaf seeds"] == 2
    delta = table.loc["nll_matched", 2]
    assert delta["vamp+iaf delta"] == pytest.approx(delta["vamp+iaf"] - table.loc["nll_matched", 1]["vamp+iaf"])
    assert delta["vamp+iaf delta_low"] < delta["vamp+iaf delta"] < delta["vamp+iaf delta_high"]
    assert (table.loc["-elbo", "vamp+iaf"] > table.loc["nll", "vamp+iaf"]).all()
    text = (folder / "results/tiny/tables/ablation_digits.md").read_text()
    assert f"{delta['vamp+iaf']:.3f}" in text
    assert "**" in text
    assert "control" in text
    assert r"\toprule" in (folder / "results/tiny/tables/ablation_digits.tex").read_text()


def test_latents_open_in_scanpy(study):
    folder, _ = study
    import scanpy

    run = next(path for path in (folder / "results/runs").iterdir() if "pbmc68k_reduced-vae-K2" in path.name)
    cells = scanpy.read_h5ad(run / "latents.h5ad")
    assert set(cells.obsm) == {"X_mu_1", "X_mu_2", "X_sigma_1", "X_sigma_2"}
    assert cells.obs["part"].value_counts().to_dict() == {"train": 500, "test": 100}
    assert cells.obs["label"].nunique() == 10
    np.testing.assert_allclose(cells.X, (cells.obsm["X_mu_1"] + cells.obsm["X_mu_2"]) / 2, rtol=1e-5, atol=1e-6)


def test_provenance_chains_inputs_to_outputs(study):
    folder, _ = study
    run = next(path for path in (folder / "results/runs").iterdir() if "vae-K2" in path.name)
    train, evaluate = (read_json(run / f"provenance/{rule}.json") for rule in ("train", "evaluate"))
    prepare = read_json(next((folder / "results/datasets").glob(f"{train['spec']['dataset']}/provenance/prepare.json")))
    model = f"results/runs/{run.name}/model.safetensors"
    assert train["outputs"][model] == evaluate["inputs"][model] == sha256(folder / model)
    assert all(prepare["outputs"][name] == digest for name, digest in train["inputs"].items())
    assert train["spec"] == read_json(run / "spec.json")
    assert len(train["code_sha256"]) == 64
    assert {"torch", "snakemake", "numpy"} <= set(train["packages"])
    for key in ("git", "host", "device", "start", "seconds", "peak_memory_mb", "command", "slurm_job_id", "seed"):
        assert key in train
    tabulate = read_json(folder / "results/tiny/provenance/tabulate.json")
    assert (
        tabulate["inputs"][f"results/runs/{run.name}/likelihood.json"]
        == evaluate["outputs"][f"results/runs/{run.name}/likelihood.json"]
    )


def test_a_second_call_has_nothing_to_do_and_shows_the_table_again(study):
    folder, _ = study
    before = {path: path.stat().st_mtime_ns for path in (folder / "results").rglob("*") if path.is_file()}
    result = ablation(folder, folder / "tiny.yaml")
    assert result.returncode == 0
    assert "Nothing to be done" in result.stdout + result.stderr
    assert "digits: nats per test point" in result.stdout
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "results").rglob("*") if path.is_file()}


def test_the_same_study_killed_half_way_and_resumed_gives_the_same_bytes(study, tmp_path):
    folder, _ = study
    make_workspace(tmp_path)
    config = write_config(tmp_path, TINY)
    command = [sys.executable, "scripts/ablation.py", str(config), "--cores", "2"]
    child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while len(list(tmp_path.glob("results/runs/*/likelihood.json"))) < 5:
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.1)
    family = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
    for process in family:
        process.kill()
    psutil.wait_procs(family)
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("results/runs/*/likelihood.json")}
    assert 5 <= len(finished) < RUNS + CONTROLS
    resumed = ablation(tmp_path, config)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "releasing its lock" in resumed.stdout
    # what was in flight on the two cores is done again, nothing else
    assert sum(path.stat().st_mtime_ns != when for path, when in finished.items()) <= 2
    assert contents(tmp_path / "results") == contents(folder / "results")
    timed = ("train_seconds", "peak_memory_mb")
    a, b = (pd.read_csv(root / "results/tiny/metrics.csv") for root in (tmp_path, folder))
    pd.testing.assert_frame_equal(a[~a.metric.isin(timed)], b[~b.metric.isin(timed)], check_exact=True)
    for table in ("ablation_digits", "latent_pbmc68k_reduced"):
        ours, theirs = ((root / f"results/tiny/tables/{table}.csv").read_bytes() for root in (tmp_path, folder))
        assert ours == theirs
    history = next(folder.glob("results/runs/*vae-K2*/history.csv")).relative_to(folder)
    a, b = (pd.read_csv(root / history).drop(columns="seconds") for root in (tmp_path, folder))
    pd.testing.assert_frame_equal(a, b, check_exact=True)


def command_of(process: psutil.Process) -> list[str]:
    """The words of a process's command; none for one that has just ended."""
    try:
        return process.as_dict(["cmdline"], ad_value=None)["cmdline"] or []
    except psutil.NoSuchProcess:
        return []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_all_processes_and_releases_the_lock(tmp_path, number):
    make_workspace(tmp_path)
    config = yaml.safe_load(yaml.safe_dump(TINY))
    config["runs"] = [config["runs"][0] | {"training": {"epochs": 100_000, "warmup": 1, "patience": 100_000}}]
    command = [sys.executable, "scripts/ablation.py", str(write_config(tmp_path, config)), "--cores", "2"]
    child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    family: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 300
        while sum("scripts/train.py" in command_of(process) for process in family) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.2)
            family = psutil.Process(child.pid).children(recursive=True)
        child.send_signal(number)  # to this process alone, as `kill` does
        _, message = child.communicate(timeout=600)
        assert child.returncode == 130
        assert message.splitlines()[-1] == "interrupted; the same command goes on from here"
        assert not psutil.wait_procs(family, timeout=60)[1]
        assert not list((tmp_path / ".snakemake").glob("locks/*"))
    finally:
        for process in [child, *family]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def test_a_failed_run_leaves_a_hole_and_its_log_and_fails_the_study(study, tmp_path):
    folder, _ = study
    make_workspace(tmp_path)
    shutil.copytree(folder / "results", tmp_path / "results")
    config = yaml.safe_load(yaml.safe_dump(TINY))
    config["runs"].append(
        config["runs"][0] | {"K": 3, "flow": "none", "training": {"epochs": 3, "warmup": 2, "learning_rate": 1e30}}
    )
    result = ablation(tmp_path, write_config(tmp_path, config))
    assert result.returncode != 0
    failures = pd.read_csv(tmp_path / "results/tiny/failures.csv")
    assert len(failures) == 2  # two seeds
    assert (failures.rule == "train").all()
    assert failures.log.str.contains("training diverged, lower training.learning_rate").all()
    assert not failures.log.str.contains("Traceback").any()
    table = (tmp_path / "results/tiny/tables/ablation_digits.md").read_text()
    assert "missing (0 of 2)" in table
    assert "2 runs are missing" in result.stdout
    metrics = pd.read_csv(tmp_path / "results/tiny/metrics.csv")
    assert metrics.run.nunique() == RUNS + CONTROLS
    # the next call tries them again and still ends with the holes
    assert ablation(tmp_path, tmp_path / "tiny.yaml").returncode != 0


def test_changed_prepared_data_is_named_and_never_trained_on(study, tmp_path):
    folder, _ = study
    make_workspace(tmp_path)
    shutil.copytree(folder / "results/datasets", tmp_path / "results/datasets")
    data = tmp_path / "results/datasets/digits/data.npz"
    content = bytearray(data.read_bytes())
    content[1000] ^= 1
    data.write_bytes(bytes(content))
    spec = next(spec for spec in load(folder / "tiny.yaml").runs.values() if spec.dataset == "digits")
    command = [
        sys.executable,
        "scripts/train.py",
        "--spec",
        spec.canonical(),
        "--data",
        "results/datasets/digits",
        "--run",
        "results/runs/x",
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: results/datasets/digits/data.npz: changed since it was prepared, sha256 expected")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "results/runs/x").exists()


@pytest.mark.parametrize(
    ("file", "script", "arguments"),
    [
        ("model.safetensors", "evaluate", ["--run", "RUN", "--data", "results/datasets/digits"]),
        ("model.safetensors", "latents", ["--run", "RUN", "--data", "results/datasets/digits"]),
        ("likelihood.json", "tabulate", ["--study", "results/tiny/study.json", "--runs", "results/runs"]),
        ("pointwise.npz", "tabulate", ["--study", "results/tiny/study.json", "--runs", "results/runs"]),
        ("latent_metrics.json", "tabulate", ["--study", "results/tiny/study.json", "--runs", "results/runs"]),
    ],
)
def test_a_changed_result_is_refused_by_the_rule_that_reads_it(study, tmp_path, file, script, arguments):
    folder, _ = study
    make_workspace(tmp_path)
    shutil.copytree(folder / "results", tmp_path / "results")
    run = sorted((tmp_path / "results/runs").glob("digits-vae-*"))[0].relative_to(tmp_path)
    content = bytearray((tmp_path / run / file).read_bytes())
    content[-3] ^= 1
    (tmp_path / run / file).write_bytes(bytes(content))
    before = contents(tmp_path / "results")
    command = [sys.executable, f"scripts/{script}.py", *(str(run) if word == "RUN" else word for word in arguments)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {run}/{file}: not what rule ")
    assert len(result.stderr.splitlines()) == 1
    assert contents(tmp_path / "results") == before
    if script == "tabulate":  # after a failure the run is a hole like any other, with the reason
        subprocess.run([*command, "--allow-missing"], cwd=tmp_path, check=True)
        [failure] = pd.read_csv(tmp_path / "results/tiny/failures.csv").to_dict("records")
        assert failure["run"] == run.name
        assert f"{file}: not what rule" in failure["log"]
        assert run.name not in set(pd.read_csv(tmp_path / "results/tiny/metrics.csv").run)


def test_plain_snakemake_does_not_take_a_config_without_a_study_for_the_demo(workspace):
    path = write_config(workspace, TINY)
    path.write_text(path.read_text().replace("study: tiny", ""))
    command = [sys.executable, "-m", "snakemake", "-n", "--configfile", str(path)]
    result = subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "study: this key is required" in result.stdout + result.stderr


def test_plain_snakemake_names_a_bad_config_without_a_traceback(workspace):
    path = write_config(workspace, TINY | {"studdy": 1})
    command = [sys.executable, "-m", "snakemake", "-n", "--configfile", str(path)]
    result = subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "studdy: unknown key 'studdy' (did you mean 'study'?)" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_a_study_named_on_the_command_line_is_not_merged_with_the_demo(workspace):
    path = write_config(workspace, TINY)
    command = [sys.executable, "-m", "snakemake", "-n", "--configfile", str(path)]
    result = subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=True)
    counts = dict(line.split() for line in (result.stdout + result.stderr).splitlines() if len(line.split()) == 2)
    assert (counts["train"], counts["evaluate"], counts["latents"]) == ("12", "12", "10")


def test_changed_data_costs_no_result_and_repaired_retrains_nothing(study, tmp_path):
    folder, _ = study
    make_workspace(tmp_path)
    shutil.copytree(folder / "results", tmp_path / "results")
    shutil.copytree(folder / ".snakemake", tmp_path / ".snakemake")
    config = write_config(tmp_path, TINY)
    before = contents(tmp_path / "results")
    models = {path: path.stat().st_mtime_ns for path in tmp_path.glob("results/runs/*/model.safetensors")}
    data = tmp_path / "results/datasets/digits/data.npz"
    content = bytearray(data.read_bytes())
    content[1000] ^= 1
    data.write_bytes(bytes(content))
    refused = ablation(tmp_path, config)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: results/datasets/digits/data.npz: changed since it was prepared, sha256 expected")
    assert len(refused.stderr.splitlines()) == 1
    data.unlink()
    assert "found no file; repair it: python scripts/prepare.py --dataset digits" in ablation(tmp_path, config).stderr
    repair = refused.stderr.strip().rsplit("repair it: python ", 1)[1].split()
    subprocess.run([sys.executable, *repair], cwd=tmp_path, check=True)
    again = ablation(tmp_path, config)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Nothing to be done" in again.stdout + again.stderr
    assert contents(tmp_path / "results") == before
    assert models == {path: path.stat().st_mtime_ns for path in models}
