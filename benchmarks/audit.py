"""How long the audit of a large study takes: one of N runs is made from the runs of a finished small one, and audited.

python benchmarks/audit.py results/small --runs 1000 --into /tmp/large
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from mixvae.files import read_json, sha256, write_json
from mixvae.provenance import seal
from mixvae.study import parse_run
from mixvae.study.jobs import RUN_FILES, Job, all_jobs, folder_of, record_of, rules_of
from mixvae.summary.results import read_study

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, help="results/<study>, of runs with few points")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--into", type=Path, required=True, help="a folder that is made; results/large is below it")
    arguments = parser.parse_args()
    small, results = arguments.study.parent, arguments.into / "results"
    study = read_study(arguments.study / "study.json")
    templates = [run for run, spec in study.runs.items() if spec.model != "constant"]
    shutil.copytree(small / "datasets", results / "datasets")
    (arguments.into / "config").symlink_to(SCRIPTS.parent / "config")
    runs = {run: spec for run, spec in study.runs.items() if spec.is_control}
    for run in runs:
        shutil.copytree(small / "runs" / run, results / "runs" / run)
    for number in range(arguments.runs):
        template = templates[number % len(templates)]
        spec = parse_run(study.runs[template].model_dump(mode="json") | {"seed": 1000 + number})
        runs[spec.id] = spec
        copy(small / "runs" / template, results / "runs" / spec.id, spec)
    folder = results / "large"
    content = {"study": "large", "runs": {run: spec.model_dump(mode="json") for run, spec in runs.items()}, "skipped": []}
    folder.mkdir()
    described = {name: info.model_dump(mode="json") for name, info in study.datasets.items()}
    (folder / "study.json").write_text(json.dumps(content | {"datasets": described}))
    every = {job.rule: job for job in all_jobs("large", runs, study.datasets, results)}
    record(read_json(arguments.study / "provenance/study.json"), every["study"], results)
    call("tabulate", "--study", "results/large/study.json", "--runs", "results/runs", cwd=arguments.into)
    for file in every["figures"].files[:-1]:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"a figure")
    record(read_json(arguments.study / "provenance/figures.json"), every["figures"], results)
    print(f"{sum(1 for path in results.rglob('*') if path.is_file())} files", flush=True)
    start = time.monotonic()
    call("audit", "results/large", cwd=arguments.into)
    print(f"{time.monotonic() - start:.1f} s")


def copy(source: Path, target: Path, spec) -> None:
    """Make a run of another seed from a finished one, with records that agree."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("logs", "benchmarks"))
    write_json(target / "spec.json", spec.training_spec())
    for rule in rules_of(spec):
        path, named = record_of(rule, spec, target), folder_of(rule, spec, Path("results/runs") / spec.id)
        facts = read_json(path) | {"spec": spec.training_spec(), "seed": spec.seed}
        facts["outputs"] = {str(named / name): sha256(folder_of(rule, spec, target) / name) for name in RUN_FILES[rule]}
        kept = {name: digest for name, digest in facts["inputs"].items() if "/datasets/" in name}
        read = () if rule == "train" else ("spec.json", "model.safetensors")
        facts["inputs"] = kept | {f"results/runs/{spec.id}/{name}": sha256(target / name) for name in read}
        write_json(path, facts | {"seal": seal(facts)})


def record(facts: dict, job: Job, results: Path) -> None:
    for kind, files in (("inputs", job.inputs), ("outputs", job.files[:-1])):
        facts[kind] = {str(Path("results") / file.relative_to(results)): sha256(file) for file in files}
    write_json(job.provenance, facts | {"seal": seal(facts)})


def call(script: str, *arguments: str, cwd: Path) -> None:
    subprocess.run([sys.executable, str(SCRIPTS / f"{script}.py"), *arguments], cwd=cwd, check=script != "audit")


main()
