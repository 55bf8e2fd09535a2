"""What a crate says of jobs: each is an action that made its outputs from its inputs, a step of the workflow.

Terms are those of the Provenance Run Crate profile (https://w3id.org/ro/wfrun/provenance/0.5). Nothing is said that the records
do not hold; who ran the study, which they do not, is left open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from rocrate.model.entity import Entity

from mixvae.errors import UserError
from mixvae.review.audit.subject import Job
from mixvae.review.crate.graph import Graph
from mixvae.study import AnyRun
from mixvae.study.steps import DATA_FILES, Step

COMPLETED, FAILED = (f"http://schema.org/{word}ActionStatus" for word in ("Completed", "Failed"))
USAGE = {"seconds": "SEC", "peak_memory_mb": "MebiBYTE"}
"""By name in a record, its unit's name in QUDT."""
IN_SNAKEFILE = {"study": "workflow/rules/study.smk"}
"""Rules without a script of their own."""


class Actions:
    """The jobs of a study, added to its graph.

    Arguments:
        graph: Of its files, data and parameters.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph, self.subject = graph, graph.subject
        workflow, tools, controls, actions = self.graph.crate.mainEntity, {}, [], []
        failed = dict(self._failed())
        for step in self.subject.steps:
            job = step.rule, step.name
            if job in self.subject.facts:
                action = self._done(step, *self.graph.times[job])
            elif job in failed:
                action = self._action(step, step.inputs, [], actionStatus=FAILED, error=failed[job])
            else:
                continue
            tools.setdefault(step.rule, self._tool(step.rule))
            name, position = f"orchestrate {action['name']}", self._step(step.rule, len(tools))
            control = f"#control/{step.rule}/{step.name}"
            controls.append(self.graph.entity(control, "ControlAction", name=name, instrument=position, object=action))
            actions.append(action)
        workflow["hasPart"] = list(tools.values())
        workflow["step"] = [self._step(rule) for rule in tools]
        whole = self._study()
        snakemake = next((package for package in self.graph.packages if package["name"] == "snakemake"), None)
        if snakemake is None:
            snakemake = self.graph.entity("pkg:pypi/snakemake", "SoftwareApplication", name="snakemake")
        name = f"orchestrate study {self.subject.study.name}"
        self.graph.entity("#organised", "OrganizeAction", name=name, instrument=snakemake, object=controls, result=whole)
        self.graph.crate.root_dataset["mentions"] = [whole, *actions]

    def _study(self) -> Entity:
        """What came of it all."""
        study, times = self.subject.study, self.graph.times.values()
        made = [
            file for step in self.subject.steps if step.name == study.name for file in step.files if file in self.graph.entities
        ]
        raw = [path for dataset in study.datasets for path in self.subject.raw(dataset) if path in self.graph.entities]
        values = {value: None for values in self.graph.parameters.values() for value in values}
        return self.graph.entity(
            "#study",
            "CreateAction",
            name=f"study {study.name}",
            description=f"all jobs of study {study.name}, {len(self.subject.missing)} of its {len(study.runs)} runs failed",
            instrument=self.graph.crate.mainEntity,
            object=[*(self.graph.entities[path] for path in raw), *values],
            result=[self.graph.entities[file] for file in made],
            startTime=min(start for start, _ in times).isoformat(),
            endTime=max(end for _, end in times).isoformat(),
            actionStatus=FAILED if self.subject.missing else COMPLETED,
        )

    def _done(self, step: Step, start: datetime, end: datetime) -> Entity:
        facts = self.subject.facts[step.rule, step.name]
        try:
            read, made = (self._known(kind, step) for kind in ("inputs", "outputs"))
        except TypeError as error:
            raise UserError(f"{step.provenance}: not a record of a rule ({error})") from None
        raw = self.subject.raw(step.name) if step.rule == "download" else []
        action = self._action(
            step,
            [*read, *raw],
            [*(file for file in made if file not in raw), step.provenance],
            startTime=start.isoformat(),
            endTime=end.isoformat(),
            actionStatus=COMPLETED,
            location=str(facts.get("host")),
            resourceUsage=[self._usage(step, name, facts[name]) for name in USAGE if isinstance(facts.get(name), int | float)],
        )
        git = facts.get("git") if isinstance(facts.get("git"), dict) else {}
        action["description"] = (
            f"{action['description']}, on {facts.get('host')} ({facts.get('device')}) under {facts.get('platform')}, code {facts.get('code_sha256')}, "
            f"commit {git.get('commit', 'unknown')}{' with changes' if git.get('dirty') else ''}"
        )
        if facts.get("slurm_job_id"):
            job = str(facts["slurm_job_id"])
            action["environment"] = self.graph.entity(f"#SLURM_JOB_ID={job}", "PropertyValue", name="SLURM_JOB_ID", value=job)
        return action

    def _known(self, kind: str, step: Step) -> list[Path]:
        """Return the files that a record names and that the crate holds or refers to as just these."""
        recorded = self.subject.recorded(kind, step.rule, step.name)
        there = {file: self.graph.entities[file].get("sha256") for file in recorded if file in self.graph.entities}
        return [file for file, digest in there.items() if digest == recorded[file]]

    def _action(self, step: Step, read: Iterable[Path], made: Iterable[Path], **properties: Any) -> Entity:
        return self.graph.entity(
            f"#job/{step.rule}/{step.name}",
            "CreateAction",
            name=f"{step.rule} {step.name}",
            description=f"rule {step.rule} of {step.name}",
            instrument=self._tool(step.rule),
            object=[self.graph.entities[file] for file in read if file in self.graph.entities]
            + (self.graph.parameters.get(step.name, []) if step.rule == "train" else []),
            result=[self.graph.entities[file] for file in made if file in self.graph.entities],
            **properties,
        )

    def _usage(self, step: Step, name: str, value: float) -> Entity:
        return self.graph.entity(
            f"#usage/{step.rule}/{step.name}/{name}",
            "PropertyValue",
            name=name,
            propertyID=name,
            value=round(value, 3),
            unitCode=f"https://qudt.org/vocab/unit/{USAGE[name]}",
        )

    def _failed(self) -> Iterator[tuple[Job, str]]:
        """Yield the jobs at which the runs of failures.csv failed, with the end of their logs."""
        for run, row in self.subject.missing.items():
            spec: AnyRun | None = self.subject.study.runs.get(run)
            if spec:
                yield (row["rule"], spec.dataset if row["rule"] in DATA_FILES else run), row["log"]

    def _tool(self, rule: str) -> Entity:
        """Return the source of a rule as what was run."""
        tool = self.graph.entities[Path(IN_SNAKEFILE.get(rule, f"scripts/{rule}.py"))]
        tool.properties()["@type"] = ["File", "SoftwareSourceCode"]
        tool["version"] = self.graph.version
        return tool

    def _step(self, rule: str, position: int = 0) -> Entity:
        return self.graph.entity(f"#step/{rule}", "HowToStep", name=rule, position=str(position), workExample=self._tool(rule))
