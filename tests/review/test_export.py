"""A study as an RO-Crate: valid, whole, the same bytes twice, with the chain of jobs from data to tables and nothing from outside."""

import hashlib
import io
import json
import os
import shutil
import zipfile
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import requests
import urllib3
import yaml
from requests.adapters import BaseAdapter
from requests_cache import CachedSession
from rocrate.rocrate import ROCrate
from rocrate.vocabs import RO_CRATE
from rocrate_validator import services
from rocrate_validator.models import ValidationSettings
from support.project import ROOT, refusal, run_here, run_script
from support.studies import copy_results, find

from mixvae.errors import UserError
from mixvae.files import read_json, sha256
from mixvae.review.audit.subject import read
from mixvae.review.crate import archive as crate
from mixvae.study import load
from mixvae.study.own_data import SOURCES_VARIABLE, source_of, without_source
from mixvae.study.rules import listing

METADATA = "ro-crate-metadata.json"
PROFILE = "provenance-run-crate"
"""It builds upon ro-crate-1.1, workflow-ro-crate, process-run-crate and workflow-run-crate, and their checks are made, too."""
OPEN = {
    "process-run-crate-0.5_8.6",  # no agent: the records do not say who ran the study
    "process-run-crate-0.5_5.1",  # the workflow's files are called by where they lie in the crate
    "process-run-crate-0.5_3.2",  # the scripts have no address of their own
    "ro-crate-1.1_22.2",  # no author and
    "ro-crate-1.1_22.3",  # no publisher, for the same reason as no agent
}
"""Recommended, and not done."""
CONTEXT = "https://w3id.org/ro/crate/1.1/context"
BIOSCHEMAS = "https://bioschemas.org/"
TERMS_OF_1_1 = {
    **RO_CRATE["@context"],
    "ComputationalWorkflow": f"{BIOSCHEMAS}ComputationalWorkflow",
    "FormalParameter": f"{BIOSCHEMAS}FormalParameter",
    "input": f"{BIOSCHEMAS}ComputationalWorkflow#input",
    "output": f"{BIOSCHEMAS}ComputationalWorkflow#output",
}
"""rocrate ships the context of 1.3 only; of the terms that a crate uses these four meant something else in 1.1."""


class Served(BaseAdapter):
    """Answers with the context, as its server would."""

    def send(self, request, **_):
        response = requests.Response()
        response.status_code, response.url, response.request = 200, request.url, request
        response.headers["Content-Type"] = "application/ld+json"
        body = io.BytesIO(json.dumps({"@context": TERMS_OF_1_1}).encode())
        response.raw = urllib3.HTTPResponse(body, response.headers, 200, preload_content=False, request_url=request.url)
        return response

    def close(self):
        pass


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """What the validator would have fetched, so that it needs no network."""
    path = tmp_path_factory.mktemp("cache") / "http"
    with CachedSession(str(path), backend="sqlite", expire_after=-1) as session:
        session.mount(CONTEXT, Served())
        assert session.get(CONTEXT).ok
    return path


@pytest.fixture
def issues(cache):
    """Return a function that validates a crate and gives the identifiers of the checks it fails."""

    def validate(path: Path, severity: str = "REQUIRED") -> set[str]:
        settings = ValidationSettings(
            rocrate_uri=str(path),
            profile_identifier=PROFILE,
            requirement_severity=severity,
            offline=True,
            cache_path=cache,
            skip_availability_check=True,
        )
        result = services.validate(settings)
        found = {issue.check.identifier for issue in result.get_issues()}
        assert result.passed() == (not found)
        return found

    return validate


@pytest.fixture(scope="module")
def exported(small_study, shared) -> Path:
    """A copy of the study's results, exported as a user would."""

    def make(folder: Path) -> None:
        copy_results(small_study, folder)
        result = run_script("export", "results/small", cwd=folder)
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith("results/small/crate.zip: ")

    return shared("exported", make) / "results"


def graph_of(path: Path) -> dict[str, dict]:
    """The entities of a crate by their names."""
    with zipfile.ZipFile(path) as archive:
        return {entity["@id"]: entity for entity in json.loads(archive.read(METADATA))["@graph"]}


def write(results: Path, path: Path, study: str = "small") -> dict[str, dict]:
    """Write the crate of a study, whatever an audit would say, and return its entities."""
    crate.write(path, read(results / study, None)[0])
    return graph_of(path)


def change_record(results: Path, **changes: object) -> str:
    """Change the record of the training of a run, and return the run."""
    path = sorted((results / "runs").glob("*-vae-*"))[0] / "provenance/train.json"
    path.write_text(json.dumps(read_json(path) | changes))
    return path.parents[1].name


def names_of(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def ids(value) -> list[str]:
    """What a property refers to."""
    return [entry["@id"] for entry in (value if isinstance(value, list) else [value])] if value else []


def of_type(graph: dict[str, dict], kind: str) -> list[dict]:
    return [entity for entity in graph.values() if kind in np.atleast_1d(entity["@type"])]


def test_it_is_valid(exported, issues):
    assert issues(exported / "small/crate.zip") == set()


def test_what_is_recommended_is_done_but_for_what_is_not_known(exported, issues):
    assert issues(exported / "small/crate.zip", severity="RECOMMENDED") == OPEN


def test_the_validator_notices_what_is_wrong(exported, issues, tmp_path):
    """A crate without a file, and one in which a job was done with nothing."""
    with zipfile.ZipFile(exported / "small/crate.zip") as archive:
        archive.extractall(tmp_path)
    assert issues(tmp_path) == set()
    (tmp_path / "scripts/train.py").rename(tmp_path / "elsewhere")
    assert issues(tmp_path) == {"ro-crate-1.1_12.1"}
    (tmp_path / "elsewhere").rename(tmp_path / "scripts/train.py")
    content = json.loads((tmp_path / METADATA).read_text())
    action = next(entity for entity in content["@graph"] if entity["@id"].startswith("#job/train/"))
    del action["instrument"]
    (tmp_path / METADATA).write_text(json.dumps(content))
    assert any(check.startswith("process-run-crate") for check in issues(tmp_path))


def test_every_file_is_described_with_the_checksum_of_the_original(exported):
    path = exported / "small/crate.zip"
    files = {unquote(entity["@id"]): entity for entity in of_type(graph_of(path), "File")}
    names = names_of(path) - {METADATA}
    assert names == set(files)
    for name, entity in files.items():
        original = exported.parent / name if name.startswith("results/") else ROOT / name
        assert entity["sha256"] == sha256(original), name
        assert entity["contentSize"] == str(original.stat().st_size)
        assert entity["encodingFormat"] != "application/octet-stream" or name.endswith(".safetensors")
    with zipfile.ZipFile(path) as archive:
        for name in names:
            with archive.open(name) as stream:
                assert hashlib.file_digest(stream, "sha256").hexdigest() == files[name]["sha256"]


def test_it_holds_the_workflow_and_everything_the_jobs_left_but_data(exported):
    names = names_of(exported / "small/crate.zip")
    left = {
        f"results/{path.relative_to(exported).as_posix()}"
        for path in exported.rglob("*")
        if path.is_file()
        and not {"logs", "benchmarks", "raw"} & set(path.parts)
        and path.name not in ("data.npz", "crate.zip", "export.json", ".own.json")
    }
    assert {name for name in names if name.startswith("results/")} == left
    assert any(name.endswith("model.safetensors") for name in left)
    code = {
        path.relative_to(ROOT).as_posix()
        for folder in ("src/mixvae", "scripts", "workflow/rules", "workflow/report")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert code < names
    assert {"Snakefile", "scripts/train.py", "envs/requirements.lock", "workflow/rules/train.smk", "LICENSE"} < names


def test_jobs_connect_the_published_data_with_every_table_and_figure(exported):
    graph = graph_of(exported / "small/crate.zip")
    made_by = {}
    for action in of_type(graph, "CreateAction"):
        if action["@id"] != "#study":
            made_by |= dict.fromkeys(ids(action["result"]), action)

    def origins(name: str, seen: set[str]) -> set[str]:
        if name in seen or name not in made_by:
            return {name}
        seen.add(name)
        return {name}.union(*(origins(before, seen) for before in ids(made_by[name].get("object"))))

    whole = ids(graph["#study"]["result"])
    assert {name.rpartition("/")[0] for name in whole} >= {"results/small/tables", "results/small/figures", "results/small"}
    assert ids(graph["#study"]["object"])[0] == "#datasets/digits/raw/digits.csv.gz"
    assert graph["#datasets/digits/raw/digits.csv.gz"]["sha256"] == sha256(exported / "datasets/digits/raw/digits.csv.gz")
    assert graph["#datasets/digits/data.npz"]["sha256"] == sha256(exported / "datasets/digits/data.npz")
    for name in whole:
        if "/tables/" in name or "/figures/" in name:
            from_what = origins(name, set())
            assert "#datasets/digits/raw/digits.csv.gz" in from_what, name
            if "/tables/" in name:
                assert sum(before.endswith("/pointwise.npz") for before in from_what) == 5
    weights = f"results/runs/{next((exported / 'runs').glob('*-K2-*-s1-*')).name}/model.safetensors"
    assert "#parameter/seed=1" in ids(made_by[weights]["object"])
    assert "#parameter/K=2" in ids(made_by[weights]["object"])
    assert graph["#parameter/training.epochs=3"] == {
        "@id": "#parameter/training.epochs=3",
        "@type": "PropertyValue",
        "exampleOfWork": {"@id": "#parameter/training.epochs"},
        "name": "training.epochs",
        "value": 3,
    }


def test_every_record_is_an_action_with_its_times_and_machine(exported):
    graph = graph_of(exported / "small/crate.zip")
    actions = {entity["@id"]: entity for entity in of_type(graph, "CreateAction")}
    records = [
        path for path in exported.rglob("provenance/*.json") if path.name != "export.json"
    ]  # that is of the crate itself
    assert len(actions) == len(records) + 1 == 24
    for path in records:
        # results/<study>/provenance, else results/runs/<run>/... and results/datasets/<dataset>/...
        first, second, *_ = path.relative_to(exported).parts
        facts, name = read_json(path), first if second == "provenance" else second
        action = actions[f"#job/{path.stem}/{name}"]
        assert action["startTime"] == facts["start"]
        assert action["actionStatus"] == "http://schema.org/CompletedActionStatus"
        assert facts["host"] == action["location"]
        assert facts["code_sha256"] in action["description"]
        assert f"results/{path.relative_to(exported).as_posix()}" in ids(action["result"])
        used = [graph[name]["value"] for name in ids(action["resourceUsage"])]
        assert used == [round(facts["seconds"], 3), round(facts["peak_memory_mb"], 3)]
    assert len(of_type(graph, "ControlAction")) == len(records)
    torch = next(entity for entity in of_type(graph, "SoftwareApplication") if entity["name"] == "torch")
    assert torch["version"] == facts["packages"]["torch"]
    assert not of_type(graph, "Person")


def test_rocrate_reads_it(exported):
    path = exported / "small/crate.zip"
    read = ROCrate(path)
    assert read.mainEntity.id == "Snakefile"
    assert {entity.id for entity in read.get_entities()} == graph_of(path).keys()


def test_twice_it_is_the_same_bytes(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "results")
    for path in (tmp_path / "results").rglob("*"):
        os.utime(path, (1, 1))
    write(tmp_path / "results", tmp_path / "other.zip")
    assert sha256(tmp_path / "other.zip") == sha256(exported / "small/crate.zip")


def test_a_study_with_holes_is_exported_with_failed_actions(results, issues):
    run, other = sorted((results / "runs").glob("*-K2-*"))
    find(run, "logs/evaluate.attempts.log").write_text("out of memory\n")
    for file in ("likelihood.json", "pointwise.npz", "provenance/evaluate.json"):
        find(run, file).unlink()
    shutil.rmtree(other)
    folder = results.parent
    (folder / "config").symlink_to(ROOT / "config")
    result = run_here(
        "tabulate", "--study", "results/small/study.json", "--runs", "results/runs", "--allow-missing", cwd=folder
    )
    assert result.returncode == 0, result.stderr
    result = run_script("figures", "--study", "results/small/study.json", "--results", "results", cwd=folder)
    assert result.returncode == 0, result.stderr
    result = run_here("export", "results/small", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert "warning: results/small: incomplete" in result.stderr
    graph = graph_of(results / "small/crate.zip")
    failed = {
        entity["@id"]: entity
        for entity in of_type(graph, "CreateAction")
        if entity["actionStatus"].endswith("/FailedActionStatus")
    }
    assert failed.keys() == {"#study", f"#job/evaluate/{run.name}", f"#job/train/{other.name}"}
    assert failed[f"#job/evaluate/{run.name}"]["error"] == "out of memory"
    assert "no log" in failed[f"#job/train/{other.name}"]["error"]
    assert issues(results / "small/crate.zip") == set()


def test_what_fails_its_audit_is_not_exported(results):
    run = sorted((results / "runs").glob("*-K2-*"))[0]
    (run / "history.csv").write_text("epoch\n")
    said = refusal("export", "results/small", cwd=results.parent)
    assert said.startswith("results/small: not exported, its audit failed ")
    assert "history.csv: changed since it was made" in said
    assert not (results / "small/crate.zip").exists()


def test_a_file_that_changes_meanwhile_leaves_no_crate(results, monkeypatch):
    from mixvae.review.crate import archive

    made = archive.Graph

    def and_then(*arguments):
        for path in results.glob("runs/*/history.csv"):
            path.write_text("")
        return made(*arguments)

    monkeypatch.setattr(archive, "Graph", and_then)
    with pytest.raises(UserError, match=r"history\.csv: changed while it was exported"):
        write(results, results / "crate.zip")
    assert not list(results.glob("*crate*"))


def test_nothing_from_outside_gets_in(results, tmp_path):
    """Links, and names that lead elsewhere; the audit is passed by, as it refuses most of this before."""
    outside = tmp_path / "secret"
    outside.write_text("SECRET")
    run, other = sorted((results / "runs").glob("*-vae-*"))[:2]
    for path in (run / "model.safetensors", results / "small/tables/ablation_digits.csv", results / "small/report.html"):
        path.unlink(missing_ok=True)
        path.symlink_to(outside)
    shutil.move(other, tmp_path / "other")
    other.symlink_to(tmp_path / "other")
    path = results / "small/study.json"
    content = read_json(path)
    content["runs"]["../../secret"] = next(iter(content["runs"].values()))
    content["datasets"]["digits"]["files"] = {
        "../../../../secret": {"sha256": sha256(outside), "sources": ["file:///etc/passwd"]}
    }
    content["datasets"]["../.."] = content["datasets"]["digits"]
    path.write_text(json.dumps(content))
    write(results, tmp_path / "crate.zip")
    names = names_of(tmp_path / "crate.zip")
    assert not any(".." in name or name.startswith("/") or other.name in name for name in names)
    assert f"results/runs/{run.name}/spec.json" in names
    assert f"results/runs/{run.name}/model.safetensors" not in names
    assert "results/small/report.html" not in names
    with zipfile.ZipFile(tmp_path / "crate.zip") as archive:
        assert not any(b"SECRET" in archive.read(name) for name in names)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": "once"}, "does not say when its job began and ended"),
        ({"seconds": 1e300}, "does not say when its job began and ended"),
        ({"outputs": []}, "not a record of a rule"),
    ],
)
def test_records_that_are_none_are_named(results, tmp_path, change, message):
    change_record(results, **change)
    with pytest.raises(UserError, match=message):
        write(results, tmp_path / "crate.zip")
    assert not (tmp_path / "crate.zip").exists()


def test_a_node_without_a_clock_is_no_obstacle(results, tmp_path):
    for path in results.rglob("provenance/*.json"):
        path.write_text(json.dumps(read_json(path) | {"start": "1970-01-01T00:00:00+00:00"}))
    assert write(results, tmp_path / "crate.zip")["#study"]["startTime"] == "1970-01-01T00:00:00+00:00"


def test_other_code_than_the_crate_holds_is_said(results, tmp_path, capfd):
    run = change_record(results, code_sha256="f" * 64)
    graph = write(results, tmp_path / "crate.zip")
    assert "warning: 1 jobs were done by other code" in capfd.readouterr().err
    assert "but for 1 jobs, whose code was another" in graph["./"]["description"]
    assert f"code {'f' * 64}" in graph[f"#job/train/{run}"]["description"]


def test_own_data_are_referred_to_and_the_graph_does_not_tell_where_they_lie(workspace, issues):
    """A study whose jobs on the data are done and whose run is still to come."""
    elsewhere = workspace / "at home"
    elsewhere.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    np.savez(elsewhere / "data.npz", x=images, y=np.arange(60) % 2)
    block = {"dataset": str(elsewhere / "data.npz"), "likelihood": "bernoulli", "K": 1}
    (workspace / "own.yaml").write_text(yaml.safe_dump({"study": "own", "runs": [block]}))
    expansion = load(workspace / "own.yaml")
    (dataset, info), results = *expansion.datasets.items(), workspace / "results"
    (results / "own").mkdir(parents=True)
    (results / "own/study.json").write_text(listing(expansion))
    environment = os.environ | {SOURCES_VARIABLE: json.dumps({dataset: source_of(info)})}
    options = ("--dataset", dataset, "--folder", f"results/datasets/{dataset}")
    result = run_script("download", *options, f"--info={without_source(info)}", cwd=workspace, env=environment)
    assert result.returncode == 0, result.stderr
    assert run_script("prepare", *options, cwd=workspace).returncode == 0
    path = workspace / "crate.zip"
    graph = write(results, path, "own")
    raw, prepared = (graph[f"#datasets/{dataset}/{name}"] for name in ("raw/data.npz", "data.npz"))
    assert raw["sha256"] == sha256(elsewhere / "data.npz")
    assert prepared["sha256"] == sha256(results / f"datasets/{dataset}/data.npz") != raw["sha256"]
    assert raw["text"] == "not in the crate"
    with zipfile.ZipFile(path) as archive:
        told = {name.rpartition("/")[2] for name in archive.namelist() if b"at home" in archive.read(name)}
        assert told == {"raw.json", "download.json"}  # the records, which are as they were made
        assert not any(name.endswith("data.npz") for name in archive.namelist())
    assert issues(path) == set()


def test_published_data_are_where_they_are_published(results, tmp_path, issues):
    content = read_json(results / "small/study.json")
    content["datasets"]["digits"]["files"]["digits.csv.gz"]["sources"] = ["https://example.org/a b/digits.csv.gz"]
    (results / "small/study.json").write_text(json.dumps(content))
    graph = write(results, tmp_path / "crate.zip")
    entity = graph["https://example.org/a%20b/digits.csv.gz"]
    assert entity["sha256"] == sha256(results / "datasets/digits/raw/digits.csv.gz")
    assert entity["license"] == "CC BY 4.0"
    assert entity["citation"].startswith("Alpaydin, E. and Kaynak, C.")
    assert entity["@id"] in ids(graph["#job/prepare/digits"]["object"])
    assert not any("digits.csv.gz" in name for name in names_of(tmp_path / "crate.zip"))
    assert issues(tmp_path / "crate.zip") == set()


def test_a_study_of_the_repository_comes_with_its_config_and_those_it_includes():
    from mixvae.review.crate.archive import workflow
    from mixvae.summary.results import StudyRuns

    expansion = load(ROOT / "config/mixture_mnist.yaml")
    names = {item.name for item in workflow(StudyRuns("mixture_mnist", expansion.runs, [], expansion.datasets))}
    assert {"config/mixture_mnist.yaml", "config/mnist.yaml", "config/datasets.yaml"} < names
    assert "config/demo.yaml" not in names
    names = {item.name for item in workflow(StudyRuns("mixture_mnist", {}, [], {}))}  # another study of that name
    assert not {"config/mixture_mnist.yaml", "config/mnist.yaml"} & names
