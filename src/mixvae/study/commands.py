"""This file gives the command line of every job from the study alone, so that nobody has to trust the one in a record."""

from __future__ import annotations

from pathlib import Path

from mixvae.study.catalogue import DatasetInfo
from mixvae.study.own_data import without_source
from mixvae.study.run import AnyRun
from mixvae.study.steps import Step

RESULTS = Path("results")
"""Relative to the repository's root, in which the commands are run."""


def command(step: Step, spec: AnyRun | None, info: DatasetInfo | None, gpu: bool, holes: bool) -> list[str]:
    """Return the command that repeats a job; [] for rule study, which Snakemake runs itself.

    Arguments:
        spec: The run's spec, for a job of one run.
        info: The data set's entry, for a job of one data set.
        gpu: Whether to compute on a GPU.
        holes: Whether some of the study's runs are missing.
    """
    match step.rule:
        case "download":
            own = without_source(info) if info.reader and len(info.files) == 1 else ""
            options = ["--dataset", step.name, "--folder", f"{RESULTS}/datasets/{step.name}", f"--info={own}"]
        case "prepare":
            options = ["--dataset", step.name, "--folder", f"{RESULTS}/datasets/{step.name}"]
        case "train" | "evaluate" | "latents":
            run, data = ["--run", f"{RESULTS}/runs/{step.name}"], ["--data", f"{RESULTS}/datasets/{spec.dataset}"]
            options = ["--spec", spec.canonical(), *data, *run] if step.rule == "train" else [*run, *data]
            options += ["--gpu", str(int(gpu))] if step.rule != "latents" else []
        case "tabulate":
            options = ["--study", f"{RESULTS}/{step.name}/study.json", "--runs", f"{RESULTS}/runs"]
            options += ["--allow-missing"] if holes else []
        case "figures":
            options = ["--study", f"{RESULTS}/{step.name}/study.json", "--results", str(RESULTS)]
        case _:
            return []
    return ["python", f"scripts/{step.rule}.py", *options]
