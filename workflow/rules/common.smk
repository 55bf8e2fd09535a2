"""From the config to the grid of runs: what the rules need to know, without importing torch."""

import json
import os
import signal
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

SRC = str(Path(workflow.basedir) / "src")
sys.path.insert(0, SRC)

from mixvae.study import UserError, expand, resources
from mixvae.study.listing import listing
from mixvae.study.own_data import SOURCES_VARIABLE, source_of, without_source
from mixvae.study.rules import list_study
from mixvae.study.steps import steps

# SLURM warns every process of a job of its time limit. Training saves its state then; anything else, Snakemake inside the job
# among it, must not die of the warning.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def in_one_line(function, *arguments):
    """Return what a function returns; a user's mistake ends Snakemake with its one line."""
    try:
        return function(*arguments)
    except UserError as error:
        raise WorkflowError(str(error)) from None


EXPANSION = in_one_line(expand, config, " + ".join(map(str, workflow.configfiles)) or "config")
RUNS = EXPANSION.runs
STUDY = f"results/{EXPANSION.study.study}"
RUN = "results/runs/{run}"
DATASET = "results/datasets/{dataset}"

# Jobs run this python and import this checkout's library, and look for data where the config says.
os.environ.update(PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}", PYTHONPATH=SRC)
if EXPANSION.study.data_mirror:
    os.environ.update(MIXVAE_DATA=EXPANSION.study.data_mirror)
# Where a user's file lies is told to the jobs in the same way, and not as a parameter: moving it makes no new data.
os.environ[SOURCES_VARIABLE] = json.dumps({name: source_of(EXPANSION.datasets[name]) for name in EXPANSION.own})


def spec_of(wildcards):
    if wildcards.run not in RUNS:
        raise WorkflowError(f"{wildcards.run} is no run of study {EXPANSION.study.study}; `make check` prints its runs")
    return RUNS[wildcards.run]


def spec_json(wildcards):
    return spec_of(wildcards).canonical()


def output_folder(wildcards, output):
    return str(Path(output[0]).parent)


def data_folder(wildcards):
    return f"results/datasets/{spec_of(wildcards).dataset}"


def info_option(wildcards):
    """The entry of a user's own data set, which the catalogue does not list."""
    own = wildcards.dataset in EXPANSION.own
    return without_source(EXPANSION.datasets[wildcards.dataset]) if own else ""


def data_files(wildcards):
    return [f"{data_folder(wildcards)}/data.npz", f"{data_folder(wildcards)}/dataset.json"]


def threads_of(wildcards):
    return spec_of(wildcards).threads


def gpu(wildcards):
    """A resource and not a parameter: where a run was trained does not make it another run.

    `gpu` is what the scheduler is asked for, and a profile may ask in another way (gres); `on_gpu` is what the script is told.
    """
    return 0 if spec_of(wildcards).is_control else EXPANSION.study.gpu


def asked_for(amount):
    """The function by which a rule asks for so much of a resource for its run, and a retry for more."""

    def amount_of(wildcards, attempt):
        spec = spec_of(wildcards)
        return int(attempt * amount(spec, EXPANSION.datasets[spec.dataset]))

    return amount_of


# The jobs that look at the study as a whole, and the files of the runs that they read. `all` asks for those, too: tables with holes,
# made after a failure, must not pass for a finished study when the command is repeated.
WHOLE = {
    step.rule: step
    for step in steps(EXPANSION.study.study, RUNS, EXPANSION.datasets, Path("results"))
    if step.name == EXPANSION.study.study
}
FOR_TABLES, FOR_FIGURES = (
    [str(file) for file in WHOLE[rule].inputs if "runs" in file.parts] for rule in ("tabulate", "figures")
)


def files_of(rule):
    return [str(file) for file in WHOLE[rule].files]


def shown(rule):
    """The files of a rule, tables and figures with what Snakemake's own report says of them."""
    return [captioned(Path(file)) for file in files_of(rule)]


def captioned(file):
    category = {".csv": "tables", ".png": "figures"}.get(file.suffix)
    if category is None or file.name in ("skipped.csv", "failures.csv"):
        return str(file)
    kind, _, dataset = file.stem.partition("_")
    labels = {"data set": dataset or "all", "kind": kind}
    caption = f"../report/{category}/{kind}.rst"
    return report(str(file), caption=caption, category=category, subcategory=labels["data set"], labels=labels)


def only_looks():
    """Whether nothing was asked for but rules that look at the results and must leave them as they are, a failed audit, too."""
    targets = set(workflow.dag_settings.targets)
    return bool(targets) and targets <= {"audit", "report"}
