"""Run a study through Snakemake from config check to headline table: what `make ablation` calls."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from mixvae import cli
from mixvae.data.prepared import verify
from mixvae.errors import UserError
from mixvae.spec import Expansion, find_config, load, outputs
from mixvae.spec.study import describe

LOCKS = Path(".snakemake/locks")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", help="a name in config/ or a path")
    parser.add_argument("--cores", required=True)
    parser.add_argument("--profile", default="default", help="a folder in workflow/profiles/")
    # what is not known here is for Snakemake
    arguments, further = parser.parse_known_args()
    if arguments.cores != "all" and not (arguments.cores.isdecimal() and int(arguments.cores) > 0):
        raise UserError(f"CORES: found {arguments.cores!r}, expected a number from 1 or all")
    path = find_config(arguments.study, Path("config"))
    expansion = load(path)
    profile = Path("workflow/profiles") / arguments.profile
    if not profile.is_dir():
        known = sorted(folder.name for folder in profile.parent.iterdir())
        raise UserError(f"{profile}: no such profile; there are {', '.join(known)}")
    print(f"{path}: {describe(expansion)}", flush=True)
    verify_data(expansion.datasets)
    snakemake = [sys.executable, "-m", "snakemake", "--configfile", str(path)]
    release_stale_lock(snakemake)
    command = [*snakemake, "--cores", arguments.cores, "--workflow-profile", str(profile), *further]
    # a shell's background jobs ignore SIGINT, and Snakemake, which is ended by it, would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # in a process group of its own, which gets one signal, whether a terminal interrupted everything or somebody only this process
    child = subprocess.Popen(command, start_new_session=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = child.wait()
    except KeyboardInterrupt:
        os.killpg(child.pid, signal.SIGINT)
        child.wait()
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return cli.INTERRUPTED
    folder = Path("results") / expansion.study.study
    if folder.is_dir() and set(further).isdisjoint({"-n", "--dry-run", "--lint"}):
        show(folder, expansion)
    return code


def verify_data(names: Iterable[str]) -> None:
    """Raise UserError when a prepared data set was changed, before Snakemake clears away results to make them anew from it."""
    for folder in (Path("results/datasets") / name for name in names):
        if (folder / "dataset.json").is_file():
            verify(folder)


def release_stale_lock(snakemake: list[str]) -> None:
    """Unlock the folder when no Snakemake works in it any more; raises UserError when one does."""
    if not (LOCKS.is_dir() and any(LOCKS.iterdir())):
        return
    import psutil

    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        if process.info["cwd"] == str(Path.cwd()) and any(Path(word).name == "snakemake" for word in words):
            raise UserError(f"another Snakemake, process {process.pid}, works in this folder; wait for it or stop it")
    print("the last run was cut off: releasing its lock", flush=True)
    subprocess.run([*snakemake, "--unlock", "--quiet", "all"], check=True)


def show(folder: Path, expansion: Expansion) -> None:
    """Print the headline tables, the controls and where everything lies."""
    import pandas as pd

    from mixvae.rendering import HEADLINES, MARKS_NOTE, headline

    seen = ""
    names = outputs.tables(expansion.runs.values(), expansion.datasets)
    for kind, (_, what) in HEADLINES.items():
        for path in (folder / f"tables/{name}.csv" for name in names if name.split("_", 1)[0] == kind):
            if path.is_file() and (text := headline(pd.read_csv(path), kind)):
                dataset = path.stem.removeprefix(f"{kind}_")
                print(f"\n{dataset}: {what}\n\n{text}")
                seen += text
                if kind == "ablation":
                    print_controls(folder, expansion, dataset)
    print("".join(f"\n{line}" for line in MARKS_NOTE.splitlines() if line[0] in seen))
    if (folder / "failures.csv").is_file() and len(failed := pd.read_csv(folder / "failures.csv")):
        print(
            f"\n{len(failed)} runs are missing, the first is {failed.run[0]} at rule {failed.rule[0]}: {folder / 'failures.csv'}"
        )
    print(f"\nresults: {folder}/ (tables/, figures/, metrics.csv, skipped.csv, failures.csv), runs: {folder.parent}/runs/")


def print_controls(folder: Path, expansion: Expansion, dataset: str) -> None:
    """Print what a constant predictor reaches on a data set, under each likelihood."""
    import pandas as pd

    metrics = pd.read_csv(folder / "metrics.csv")
    values = metrics[metrics.metric == "nll"].set_index("run")["value"]
    for run, spec in expansion.runs.items():
        if spec.model == "constant" and spec.dataset == dataset and run in values.index:
            print(f"a constant predictor ({spec.likelihood.name}): {values[run]:.3f}")


cli.run(main)
