"""This file lists every job of a study, in an order in which the jobs can run, with the files that each reads and leaves."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from mixvae.study import outputs
from mixvae.study.catalogue import DatasetInfo
from mixvae.study.run import Run

DATA_FILES = {"download": ("raw.json",), "prepare": ("data.npz", "dataset.json")}
RUN_FILES = {
    "train": ("spec.json", "model.safetensors", "history.csv", "training.json"),
    "evaluate": ("likelihood.json", "pointwise.npz"),
    "bracket": ("bracket.json", "bracket.npz"),
    "latents": ("latents.h5ad", "latent_metrics.json"),
}
"""For each rule, the files that it leaves in the folder of a data set, run or measurement, beside its record."""
MADE_BY = {file: rule for rule, files in RUN_FILES.items() for file in files}
MEASURED = "measured"
"""The folder in a run's folder with a folder for every way in which the run has been measured."""

FOR_TABLES = ("training.json", "likelihood.json", "pointwise.npz", "bracket.json", "bracket.npz", "latent_metrics.json")
FOR_FIGURES = ("model.safetensors", "history.csv", "latents.h5ad")


JobKey = tuple[str, str]


class Job(NamedTuple):
    """One job.

    rule: The rule's name.
    name: The name of the data set or study, or the id of the run.
    folder: The folder of its files.
    inputs: The files that it reads and other jobs leave.
    files: The files that it leaves, its record last.
    """

    rule: str
    name: str
    folder: Path
    inputs: list[Path]
    files: list[Path]

    @property
    def key(self) -> JobKey:
        """Its rule and name, which together no other job of the study has."""
        return self.rule, self.name

    @property
    def provenance(self) -> Path:
        """The path of its record."""
        return self.files[-1]


def rules_of(spec: Run) -> list[str]:
    """Return the rules that a run goes through; the control, and a posterior fitted to a density, encode no points."""
    return ["train", "evaluate", *["bracket"] * (spec.annealing is not None), *["latents"] * spec.has_codes]


def folder_of(rule: str, spec: Run, run: Path) -> Path:
    """Return the folder of what a rule leaves of a run, whose own folder is `run`, with its record, logs and benchmark."""
    return run if rule == "train" else run / MEASURED / spec.measurement(rule)


def run_file(name: str, spec: Run, run: Path) -> Path:
    """Return the path of one of RUN_FILES; the arguments are those of `folder_of`."""
    return folder_of(MADE_BY[name], spec, run) / name


def record_of(rule: str, spec: Run, run: Path) -> Path:
    """Return the path of the record that a rule leaves of a run; the arguments are those of `folder_of`."""
    return folder_of(rule, spec, run) / f"provenance/{rule}.json"


def all_jobs(study: str, runs: Mapping[str, Run], datasets: Mapping[str, DatasetInfo], results: Path) -> Iterator[Job]:
    """Yield every job of a study, each after all jobs whose files it reads."""
    data: dict[str, list[Path]] = {}
    for dataset in datasets:
        folder = results / "datasets" / dataset
        before: list[Path] = []
        for rule, names in DATA_FILES.items():
            job = _job(rule, dataset, folder, before, names)
            yield job
            before = data[dataset] = job.files[:-1]
    for_tables, for_figures = [], []
    for run, spec in runs.items():
        folder = results / "runs" / run
        weights = [folder / "spec.json", folder / "model.safetensors"]
        for rule in rules_of(spec):
            inputs = data[spec.dataset] if rule == "train" else [*data[spec.dataset], *weights]
            names = [*RUN_FILES[rule], *(spec.own_files if rule == "train" else [])]
            job = _job(rule, run, folder_of(rule, spec, folder), inputs, names)
            yield job
            for_tables += [file for file in job.files if file.name in FOR_TABLES]
            if not spec.is_control:
                for_figures += [file for file in job.files if file.name in FOR_FIGURES]
    folder = results / study
    listed = _job("study", study, folder, [], ["study.json"])
    yield listed
    tables = outputs.tables(runs.values(), datasets)
    names = ["metrics.parquet", "metrics.csv", "skipped.csv", "failures.csv", "manifest.json"]
    names += [f"tables/{table}.{end}" for table in tables for end in ("csv", "md", "tex")]
    yield _job("tabulate", study, folder, [*listed.files[:-1], *for_tables], names)
    figures = outputs.figures(runs.values(), datasets)
    names = [f"figures/{figure}.{end}" for figure in figures for end in ("png", "pdf")]
    read = [folder / name for name in ("metrics.parquet", *outputs.drawn(figures))]
    yield _job("figures", study, folder, [*listed.files[:-1], *read, *for_figures], names)


def _job(rule: str, name: str, folder: Path, inputs: list[Path], files: Iterable[str]) -> Job:
    return Job(rule, name, folder, list(inputs), [*(folder / file for file in files), folder / f"provenance/{rule}.json"])
