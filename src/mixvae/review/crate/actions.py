"""Describes the jobs of a study in its crate: each becomes an action that made its outputs from its inputs.

Terms are those of the Provenance Run Crate profile (https://w3id.org/ro/wfrun/provenance/0.5). Everything that is said is in
the records; they do not name who ran the study, so the crate does not either.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rocrate.model.entity import Entity

from mixvae.errors import UserError
from mixvae.review.crate.graph import Graph
from mixvae.study.jobs import DATA_FILES, Job, JobKey

COMPLETED, FAILED = (f"http://schema.org/{word}ActionStatus" for word in ("Completed", "Failed"))
USAGE = {"seconds": "SEC", "peak_memory_mb": "MebiBYTE"}
"""Amounts in a record, and the names of their units in QUDT."""


def add_actions(graph: Graph) -> None:
    """Add the jobs of a study to the graph of its files, data and parameters."""
    failed, tools, controls, actions = _failed(graph), {}, [], []
    for job in graph.subject.jobs:
        if job.key in graph.subject.facts:
            action = _finished(graph, job)
        elif job.key in failed:
            action = _action(graph, job, job.inputs, [], actionStatus=FAILED, error=failed[job.key])
        else:
            continue
        tool = tools.setdefault(job.rule, _tool(graph, job.rule))
        number = str(len(tools))
        position = graph.entity(f"#step/{job.rule}", "HowToStep", name=job.rule, position=number, workExample=tool)
        name, control = f"orchestrate {action['name']}", f"#control/{job.rule}/{job.name}"
        controls.append(graph.entity(control, "ControlAction", name=name, instrument=position, object=action))
        actions.append(action)
    workflow = graph.crate.mainEntity
    workflow["hasPart"] = list(tools.values())
    workflow["step"] = [graph.crate.get(f"#step/{rule}") for rule in tools]
    whole, packages = _whole_study(graph), {package["name"]: package for package in graph.packages}
    snakemake = packages.get("snakemake") or graph.entity("pkg:pypi/snakemake", "SoftwareApplication", name="snakemake")
    name = f"orchestrate study {graph.subject.study.name}"
    graph.entity("#organised", "OrganizeAction", name=name, instrument=snakemake, object=controls, result=whole)
    graph.crate.root_dataset["mentions"] = [whole, *actions]


def _whole_study(graph: Graph) -> Entity:
    """Return the action of all jobs together, which made the study's results from the raw data and the parameters."""
    subject, study, times = graph.subject, graph.subject.study, graph.times.values()
    values = dict.fromkeys(value for values in graph.parameters.values() for value in values)
    return graph.entity(
        "#study",
        "CreateAction",
        name=f"study {study.name}",
        description=f"all jobs of study {study.name}, {len(subject.missing)} of its {len(study.runs)} runs failed",
        instrument=graph.crate.mainEntity,
        object=[*graph.known(path for dataset in study.datasets for path in subject.raw(dataset)), *values],
        result=graph.known(file for job in subject.jobs if job.name == study.name for file in job.files),
        startTime=min(start for start, _ in times).isoformat(),
        endTime=max(end for _, end in times).isoformat(),
        actionStatus=FAILED if subject.missing else COMPLETED,
    )


def _finished(graph: Graph, job: Job) -> Entity:
    """Return the action of a finished job, as its record describes it."""
    facts, (start, end) = graph.subject.facts[job.key], graph.times[job.key]
    try:
        read, made = (_confirmed(graph, kind, job) for kind in ("inputs", "outputs"))
    except TypeError as error:
        raise UserError(f"{job.provenance}: not a record of a rule ({error})") from None
    raw = graph.subject.raw(job.name) if job.rule == "download" else []
    git = facts.get("git") if isinstance(facts.get("git"), dict) else {}
    where = f"on {facts.get('host')} ({facts.get('device')}) under {facts.get('platform')}, code {facts.get('code_sha256')}"
    commit = f"commit {git.get('commit', 'unknown')}{' with changes' if git.get('dirty') else ''}"
    action = _action(
        graph,
        job,
        [*read, *raw],
        [*(file for file in made if file not in raw), job.provenance],
        f", {where}, {commit}",
        startTime=start.isoformat(),
        endTime=end.isoformat(),
        actionStatus=COMPLETED,
        location=str(facts.get("host")),
        resourceUsage=[_usage(graph, job, name, facts[name]) for name in USAGE if isinstance(facts.get(name), int | float)],
    )
    if facts.get("slurm_job_id"):
        number = str(facts["slurm_job_id"])
        action["environment"] = graph.entity(f"#SLURM_JOB_ID={number}", "PropertyValue", name="SLURM_JOB_ID", value=number)
    return action


def _confirmed(graph: Graph, kind: str, job: Job) -> list[Path]:
    """Return the files of a record that the crate holds or refers to with the same digest. Raises TypeError."""
    recorded = graph.subject.recorded(kind, *job.key)
    return [file for file in recorded if file in graph.entities and graph.entities[file].get("sha256") == recorded[file]]


def _action(graph: Graph, job: Job, read: Iterable[Path], made: Iterable[Path], where: str = "", **properties: Any) -> Entity:
    return graph.entity(
        f"#job/{job.rule}/{job.name}",
        "CreateAction",
        name=f"{job.rule} {job.name}",
        description=f"rule {job.rule} of {job.name}{where}",
        instrument=_tool(graph, job.rule),
        object=[*graph.known(read), *(graph.parameters.get(job.name, []) if job.rule == "train" else [])],
        result=graph.known(made),
        **properties,
    )


def _usage(graph: Graph, job: Job, name: str, value: float) -> Entity:
    identifier, unit = f"#usage/{job.rule}/{job.name}/{name}", f"https://qudt.org/vocab/unit/{USAGE[name]}"
    return graph.entity(identifier, "PropertyValue", name=name, propertyID=name, value=round(value, 3), unitCode=unit)


def _failed(graph: Graph) -> dict[JobKey, str]:
    """Return the jobs at which the runs of failures.csv failed, with the ends of their logs."""
    runs = graph.subject.study.runs
    rows = [(run, row["rule"], row["log"]) for run, row in graph.subject.missing.items() if run in runs]
    return {(rule, runs[run].dataset if rule in DATA_FILES else run): log for run, rule, log in rows}


def _tool(graph: Graph, rule: str) -> Entity:
    """Return the entity of a rule's source file, marked as the software that was run; rule study has no script."""
    tool = graph.entities[Path("workflow/rules/study.smk" if rule == "study" else f"scripts/{rule}.py")]
    tool.properties()["@type"] = ["File", "SoftwareSourceCode"]
    tool["version"] = graph.version
    return tool
