"""Expands the config into the grid of runs, and defines the functions that the rules use, without importing torch."""

import json
import os
import signal
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

SRC = str(Path(workflow.basedir) / "src")
sys.path.insert(0, SRC)

from mixvae.study import UserError, expand, resources
from mixvae.study.own_data import SOURCES_VARIABLE, source_of, without_source
from mixvae.study.rules import list_study, listing
from mixvae.study.jobs import all_jobs

# SLURM sends this signal to every process of a job shortly before its time limit. Training then saves its state; all other
# processes, such as Snakemake inside the job, must not die of the signal.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def in_one_line(function, *arguments):
    """Return what a function returns; a UserError ends Snakemake with the one line of its message."""
    try:
        return function(*arguments)
    except UserError as error:
        raise WorkflowError(str(error)) from None


EXPANSION = in_one_line(expand, config, " + ".join(map(str, workflow.configfiles)) or "config")
RUNS = EXPANSION.runs
STUDY = f"results/{EXPANSION.study.study}"
RUN = "results/runs/{run}"
MEASURED = "results/runs/{run}/measured/{measurement}"
DATASET = "results/datasets/{dataset}"

# Jobs run this python and import this checkout's library, and look for data where the config says.
os.environ.update(PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}", PYTHONPATH=SRC)
if EXPANSION.study.data_mirror:
    os.environ.update(MIXVAE_DATA=EXPANSION.study.data_mirror)
# The jobs learn in the same way, and not by a parameter, where a user's own file lies: moving it does not make the data new.
os.environ[SOURCES_VARIABLE] = json.dumps({name: source_of(EXPANSION.datasets[name]) for name in EXPANSION.own})


def spec_of(wildcards):
    if wildcards.run not in RUNS:
        raise WorkflowError(
            f"{wildcards.run} is no run of study {EXPANSION.study.study} (make check prints its runs); has the config or an own part changed since?"
        )
    return RUNS[wildcards.run]


def spec_json(wildcards):
    return spec_of(wildcards).canonical()


def settings_of(rule):
    """Return the function that gives the settings of a measuring rule for a run."""
    from mixvae.files import canonical_json

    def settings(wildcards):
        spec = spec_of(wildcards)
        if wildcards.measurement != spec.measurement(rule):
            raise WorkflowError(f"study {EXPANSION.study.study} does not measure {wildcards.run} as {wildcards.measurement}")
        return canonical_json(spec.measuring(rule))

    return settings


def output_folder(wildcards, output):
    return str(Path(output[0]).parent)


def run_folder(wildcards):
    return f"results/runs/{wildcards.run}"


def data_folder(wildcards):
    return f"results/datasets/{spec_of(wildcards).dataset}"


def info_option(wildcards):
    """Return the entry of a user's own data set, which the catalogue does not list; "" for other data sets."""
    own = wildcards.dataset in EXPANSION.own
    return without_source(EXPANSION.datasets[wildcards.dataset]) if own else ""


def data_files(wildcards):
    return [f"{data_folder(wildcards)}/data.npz", f"{data_folder(wildcards)}/dataset.json"]


def threads_of(wildcards):
    return spec_of(wildcards).threads


def gpu(wildcards):
    """Return 1 if a run is to use a GPU, else 0; not a parameter but a resource, since a run is the same wherever it trains.

    `gpu` is what the scheduler is asked for, and a profile may ask in another way (gres); `on_gpu` is what the script is told.
    """
    return 0 if spec_of(wildcards).is_control else EXPANSION.study.gpu


def asked_for(amount):
    """Return the function by which a rule asks for an amount of a resource for its run; a retry asks for more."""

    def amount_of(wildcards, attempt):
        spec = spec_of(wildcards)
        return int(attempt * amount(spec, EXPANSION.datasets[spec.dataset]))

    return amount_of


# The jobs of the study as a whole, and the files of the runs that they read. `all` also asks for these files: tables with
# holes, made after a failure, must not pass for a finished study when the command is repeated.
WHOLE = {
    job.rule: job
    for job in all_jobs(EXPANSION.study.study, RUNS, EXPANSION.datasets, Path("results"))
    if job.name == EXPANSION.study.study
}
FOR_TABLES, FOR_FIGURES = (
    [str(file) for file in WHOLE[rule].inputs if "runs" in file.parts] for rule in ("tabulate", "figures")
)


def files_of(rule):
    return [str(file) for file in WHOLE[rule].files]


def shown(rule):
    """Return the files of a rule; tables and figures have captions for Snakemake's own report."""
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
    """Return whether only rules were asked for that look at the results and, even if they fail, must not change them."""
    targets = set(workflow.dag_settings.targets)
    return bool(targets) and targets <= {"audit", "report"}
