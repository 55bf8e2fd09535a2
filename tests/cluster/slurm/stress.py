"""Many jobs through the SLURM profile on a real cluster: python tests/cluster/slurm/stress.py --jobs 1000.

The same DAG, profile and head as in earnest; only the training script is exchanged for one that needs no torch and writes down that
it ran. Afterwards every run must have been trained exactly once, by a job of its own, and hold the result of its own spec.
"""

import argparse
import collections
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cluster
import psutil
import yaml

ROOT = Path(__file__).resolve().parents[3]
SEEDS = 50
STUB = '''"""In place of training: write the declared files, and one line for having run."""

import argparse
import json
import os
from pathlib import Path

from mixvae.provenance import record

parser = argparse.ArgumentParser()
for option in ("--spec", "--data", "--run", "--gpu", "--checkpoint-minutes"):
    parser.add_argument(option)
arguments = parser.parse_args()
run, spec = Path(arguments.run), json.loads(arguments.spec)
outputs = [run / name for name in ("spec.json", "model.safetensors", "history.csv", "training.json")]
with open("trained.txt", "a") as file:  # lines this short are appended whole
    file.write(f"{run.name} {os.environ['SLURM_JOB_ID']}\\n")
with record("train", run / "provenance/train.json", inputs=[], outputs=outputs, spec=spec):
    for output in outputs:
        output.write_text(arguments.spec)
'''


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--in-flight", type=int, default=100)
    parser.add_argument("--cpus", type=int, default=16, help="that the node pretends to have")
    arguments = parser.parse_args()
    if reason := cluster.unavailable():
        sys.exit(reason)
    folder = Path(tempfile.mkdtemp(prefix="mixvae-stress-"))
    for name in ("workflow", "src", "config", "envs", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    shutil.copy(ROOT / "Snakefile", folder)
    (folder / "scripts/train.py").write_text(STUB)
    block = {"dataset": "digits", "likelihood": "bernoulli", "K": list(range(1, arguments.jobs // SEEDS + 1)),
             "seed": list(range(SEEDS)), "latent": 3, "encoder": {"hidden": [12]}, "decoder": {"hidden": [12]}}  # fmt: skip
    (folder / "stress.yaml").write_text(yaml.safe_dump({"study": "stress", "runs": [block]}))
    cluster.up(CPUs=arguments.cpus)
    command = [sys.executable, "scripts/ablation.py", "stress.yaml", "--cores", "1", "--profile", "slurm", "--until", "train"]
    command += ["--jobs", str(arguments.in_flight), "--max-jobs-per-timespan", "1000/1m"]
    start = time.monotonic()
    with (folder / "head.log").open("w") as log:
        head = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        peaks = watch(head)
        code = head.wait()
    minutes = (time.monotonic() - start) / 60
    print(f"head: exit code {code}, {minutes:.1f} min, {peaks['cpu']:.0f} s of CPU, {peaks['memory']:.0f} MB; {folder}")
    lines = [line.split() for line in (folder / "trained.txt").read_text().splitlines()]
    trained, jobs = collections.Counter(run for run, _ in lines), {job for _, job in lines}
    study = subprocess.run(
        [sys.executable, "scripts/check.py", "stress.yaml"], cwd=folder, capture_output=True, text=True, check=True
    )
    expected = set(study.stdout.splitlines()[:-1])
    results = {
        path.parent.parent.name: json.loads(path.read_text()) for path in folder.glob("results/runs/*/provenance/train.json")
    }
    mixed = [
        run
        for run, facts in results.items()
        if facts["spec"] != json.loads((folder / f"results/runs/{run}/spec.json").read_text())
    ]
    print(f"expected {len(expected)} runs; trained {len(lines)} times by {len(jobs)} jobs; results of {len(results)} runs")
    print(f"lost: {len(expected - results.keys())}, repeated: {sum(count > 1 for count in trained.values())}, "
          f"not asked for: {len(trained.keys() - expected)}, mixed up: {len(mixed)}")  # fmt: skip
    print(f"{len(lines) / minutes:.0f} jobs per minute, at most {peaks['running']} running and {peaks['queue']} in the queue")
    good = code == 0 and results.keys() == expected == trained.keys() and len(lines) == len(expected) == len(jobs) and not mixed
    print("good" if good else "NOT good")
    return not good


def watch(head: subprocess.Popen) -> dict[str, float]:
    """Follow the queue and the head's memory until it ends; the mapping returned is filled meanwhile."""
    peaks = {"queue": 0.0, "running": 0.0, "cpu": 0.0, "memory": 0.0}

    def look() -> None:
        while head.poll() is None:
            states = subprocess.run(["squeue", "-h", "-o", "%T"], capture_output=True, text=True).stdout.split()
            try:
                processes = [psutil.Process(head.pid), *psutil.Process(head.pid).children()]
                memory = sum(process.memory_info().rss for process in processes) / 1e6
                cpu = sum(sum(process.cpu_times()[:4]) for process in processes)
            except psutil.NoSuchProcess:
                break
            found = {"queue": len(states), "running": states.count("RUNNING"), "cpu": cpu, "memory": memory}
            peaks.update({name: max(peaks[name], value) for name, value in found.items()})
            time.sleep(2)

    threading.Thread(target=look, daemon=True).start()
    return peaks


if __name__ == "__main__":
    sys.exit(main())
