"""From the config to runs: what every rule needs to know, without importing torch."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

SRC = str(Path(workflow.basedir) / "src")
sys.path.insert(0, SRC)

from mixvae import study as specs
from mixvae.study.own_data import SOURCES_VARIABLE, source_of, without_source
from mixvae.study.steps import steps
from mixvae.study.config import listing

# SLURM warns every process of a job of its time limit. Training saves its state then; anything else, Snakemake inside the job
# among it, must not die of the warning.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def expand_config():
    """The study's runs; a wrong config ends here, before any job, with one line."""
    try:
        return specs.expand(config, " + ".join(map(str, workflow.configfiles)) or "config")
    except specs.UserError as error:
        raise WorkflowError(str(error)) from None


EXPANSION = expand_config()
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
    return EXPANSION.study.gpu if spec_of(wildcards).model != "constant" else 0


def mem_mb(wildcards, attempt):
    """Process, data and activations, above what `make plan` expects of every study here; a retry gets more."""
    spec = spec_of(wildcards)
    info = EXPANSION.datasets[spec.dataset]
    numbers = sum(info.splits.model_dump().values())
    for size in info.shape:
        numbers *= size
    layers = 500 * spec.K if getattr(getattr(spec, "decoder", None), "name", "") == "pixelcnn" else 0
    return int(attempt * (3000 + 24 * numbers / 1e6 + layers))


NETWORK_COST = {"mlp": 1, "conv": 10, "deconv": 10, "pixelcnn": 60}
"""How much longer a network takes than an MLP of the paper's size, roughly."""


def cost(spec):
    return sum(NETWORK_COST[getattr(spec, role).name] for role in ("encoder", "decoder") if hasattr(spec, role)) or 1


def train_minutes(wildcards, attempt):
    """Generous: a point takes an MLP of the paper's size 0.14 ms per component and epoch on two cores."""
    spec = spec_of(wildcards)
    if spec.model == "constant":
        return 10 * attempt
    points = spec.training.points or EXPANSION.datasets[spec.dataset].splits.train
    return int(attempt * (10 + 5e-6 * spec.training.epochs * spec.training.samples * points * spec.K * cost(spec)))


def evaluate_minutes(wildcards, attempt):
    """Generous: a decoded sample takes the paper's MLP 0.01 ms on two cores."""
    spec = spec_of(wildcards)
    if spec.model == "constant":
        return 10 * attempt
    points = spec.evaluation.points or EXPANSION.datasets[spec.dataset].splits.test
    return int(attempt * (10 + 5e-7 * points * spec.evaluation.samples * spec.K * cost(spec)))


def write_study(content):
    from mixvae.provenance import record

    path = Path(STUDY, "study.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    with record("study", Path(STUDY, "provenance/study.json"), inputs=[], outputs=[path]):
        path.write_text(content)


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


def take_the_lead():
    """Refuse to start beside another Snakemake, also where its lock was removed by hand."""
    from mixvae.cluster import head

    try:
        head.take()
    except specs.UserError as error:
        raise WorkflowError(str(error)) from None


def give_up_the_lead():
    from mixvae.cluster import head

    head.leave()


def only_looks():
    """Whether nothing was asked for but rules that look at the results and must leave them as they are, a failed audit, too."""
    targets = set(workflow.dag_settings.targets)
    return bool(targets) and targets <= {"audit", "report"}


def tabulate_what_is_there():
    write_study(listing(EXPANSION))
    for script, options in (
        ("tabulate", ["--runs", "results/runs", "--allow-missing"]),
        ("figures", ["--results", "results"]),
    ):
        command = [sys.executable, f"{workflow.basedir}/scripts/{script}.py", "--study", f"{STUDY}/study.json", *options]
        subprocess.run(command)
