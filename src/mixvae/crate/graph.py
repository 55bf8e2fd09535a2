"""What a crate says: every file, and every job as an action that made its outputs from its inputs.

Terms are those of the Provenance Run Crate profile (https://w3id.org/ro/wfrun/provenance/0.5). Nothing is said that the records
do not hold; who ran the study, which they do not, is left open.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rocrate.model import ContextEntity
from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from mixvae.audit.subject import Job, Subject
from mixvae.crate.contents import Item
from mixvae.errors import UserError
from mixvae.provenance import ROOT, code_digest
from mixvae.spec import AnyRun
from mixvae.spec.steps import Step

VERSION = "1.1"
"""Of RO-Crate, on which the profiles below rest."""
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
TERMS = {name: f"https://w3id.org/ro/terms/workflow-run#{name}" for name in ("sha256", "environment", "resourceUsage")}
"""Those of workflow runs, which the context of RO-Crate 1.1 lacks."""
BIOSCHEMAS = "https://bioschemas.org/profiles"
LICENCE = "https://spdx.org/licenses/MIT"
COMPLETED, FAILED = (f"http://schema.org/{word}ActionStatus" for word in ("Completed", "Failed"))
SAFE = "/:#%=&?+,@~.-_"
"""What may stand in a name as it is."""
USAGE = {"seconds": ("SEC", "wall clock"), "peak_memory_mb": ("4L", "peak memory in MiB")}
"""By name in a record, its unit's UN/CEFACT code and what it is."""
IN_SNAKEFILE = {"study": "workflow/rules/study.smk"}
"""Rules without a script of their own."""
TYPES = {bool: "Boolean", int: "Integer", float: "Float", str: "Text"}


class Graph:
    """The graph of one study, filled as it is made.

    Arguments:
        subject: The study, as an audit reads it.
        workflow, results: From `contents`.
    """

    def __init__(self, subject: Subject, workflow: Iterable[Item], results: Mapping[Path, Item]) -> None:
        self.subject = subject
        self.crate = ROCrate(version=VERSION)
        self.crate.metadata.extra_terms |= TERMS
        self.entities: dict[Path, Entity] = {}
        self.packages = self._packages()
        self._root()
        for item in workflow:
            self.entities[Path(item.name)] = self._workflow_file(item)
        for file, item in results.items():
            self.entities[file] = self.crate.add_file(item.source, item.name, properties=item.properties)
        for dataset in subject.study.datasets:
            self._data(dataset)
        self.parameters = self._parameters()
        self._actions()
        for entity in self.crate.get_entities():
            _compact(entity.properties())

    def _entity(self, name: str, type: str | list[str], /, **properties: Any) -> Entity:
        """Return the contextual entity of this name, made at its first mention."""
        identifier = quote(name, safe=SAFE)
        there = self.crate.get(identifier)
        return there or self.crate.add(ContextEntity(self.crate, identifier, {"@type": type, **properties}))

    def _root(self) -> None:
        study, root = self.subject.study, self.crate.root_dataset
        runs = f"{len(study.runs)} runs on {', '.join(study.datasets)}"
        root["name"] = f"mixvae study {study.name}"
        root["description"] = (
            f"Weights, likelihoods, codes, tables, figures and records of study {study.name}: {runs}, with the workflow that made them. "
            "Data sets are referred to and keep their own licences."
        )
        root["license"] = self._entity(LICENCE, "CreativeWork", name="MIT License", identifier=LICENCE)
        root["conformsTo"] = [
            self._entity(uri, "CreativeWork", name=name, version=uri.rpartition("/")[2]) for uri, name in PROFILES.items()
        ]
        root["datePublished"] = max(end for _, end in self.times.values()).isoformat()

    @cached_property
    def times(self) -> dict[Job, tuple[datetime, datetime]]:
        """When each job on record began and ended. Raises UserError for records that do not say."""
        try:
            starts = {job: datetime.fromisoformat(facts["start"]).astimezone(UTC) for job, facts in self.subject.facts.items()}
            times = {
                job: (start, start + timedelta(seconds=round(self.subject.facts[job]["seconds"])))
                for job, start in starts.items()
            }
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{self.subject.folder}: a record does not say when its job began and ended ({error})") from None
        if not times:
            raise UserError(f"{self.subject.folder}: no records, so there is nothing to export; make ablation first")
        return times

    def _packages(self) -> list[Entity]:
        """All packages that any job had, each version once, and python itself."""
        found = set()
        for facts in self.subject.facts.values():
            packages = facts.get("packages")
            found |= set(packages.items() if isinstance(packages, dict) else ())
            found.add(("python", facts.get("python")))
        texts = sorted((name, version) for name, version in found if isinstance(name, str) and isinstance(version, str))
        return [self._package(name, version) for name, version in texts if name != "mixvae"]

    def _package(self, name: str, version: str) -> Entity:
        released, _, _ = version.partition("+")  # the index knows no builds
        uri = f"https://www.python.org/downloads/release/python-{released.replace('.', '')}/"
        if name != "python":
            uri = f"https://pypi.org/project/{name}/{released}/"
        return self._entity(uri, "SoftwareApplication", name=name, version=version, url=uri)

    def _workflow_file(self, item: Item) -> Entity:
        if item.name == "Snakefile":
            return self._main_workflow(item)
        file = self.crate.add_file(item.source, item.name, properties=item.properties)
        if item.name == "README.md":
            file["about"] = self.crate.root_dataset
        return file

    def _main_workflow(self, item: Item) -> Entity:
        workflow = self.crate.add_workflow(item.source, item.name, main=True, lang="snakemake", properties=item.properties)
        types = [*workflow.properties()["@type"], "HowTo"]
        workflow.properties()["@type"] = types
        workflow["conformsTo"] = {"@id": f"{BIOSCHEMAS}/ComputationalWorkflow/1.0-RELEASE"}
        workflow["version"] = _version()
        workflow["license"] = self.crate.root_dataset["license"]
        workflow["softwareRequirements"] = self.packages
        return workflow

    def _data(self, dataset: str) -> None:
        """Refer to the raw files by where they are published, and to the prepared data by their checksum; neither is in the crate."""
        info = self.subject.study.datasets[dataset]
        about = {"license": info.licence, "citation": info.citation}
        prepared = self.subject.results / "datasets" / dataset / "data.npz"
        for path in filter(self.subject.there, [*self.subject.raw(dataset), prepared]):
            sources = info.files[path.name].sources if path != prepared else []
            published = [source for source in sources if source.startswith(("https://", "http://"))]
            packaged = [source for source in sources if source.startswith("package://")]
            what = {"name": f"{dataset}: {path.name}", "description": info.title, **about}
            what |= {"sha256": self.subject.digests[path], "contentSize": str(path.stat().st_size)}
            if published:
                what |= {"encodingFormat": "application/octet-stream", "sdDatePublished": self._accessed(dataset)}
                self.entities[path] = self.crate.add_file(quote(published[0], safe=SAFE), properties=what)
            else:
                what["text"] = "not in the crate" + "".join(f"; comes as {source}" for source in packaged)
                name = f"#{path.relative_to(self.subject.results).as_posix()}"
                self.entities[path] = self._entity(name, "CreativeWork", **what)

    def _accessed(self, dataset: str) -> str:
        times = self.times.get(("download", dataset))
        return times[0].isoformat() if times else self.crate.root_dataset["datePublished"]

    def _parameters(self) -> dict[str, list[Entity]]:
        """Return by run the values of all parameters of its spec, each value once, an example of its formal parameter."""
        leaves = {run: dict(_leaves(spec.model_dump(mode="json"))) for run, spec in self.subject.study.runs.items()}
        kinds: dict[str, set[str]] = {}
        for values in leaves.values():
            for name, value in values.items():
                kinds.setdefault(name, set()).add(TYPES[type(value)])
        formal = {}
        for name, kind in sorted(kinds.items()):
            formal[name] = self._entity(
                f"#parameter/{name}",
                "FormalParameter",
                name=name,
                additionalType=kind.pop() if len(kind) == 1 else "PropertyValue",
                conformsTo={"@id": f"{BIOSCHEMAS}/FormalParameter/1.0-RELEASE"},
            )
        self.crate.mainEntity["input"] = list(formal.values())
        return {
            run: [self._value(name, value, formal[name]) for name, value in values.items()] for run, values in leaves.items()
        }

    def _value(self, name: str, value: Any, formal: Entity) -> Entity:
        return self._entity(f"#parameter/{name}={value}", "PropertyValue", name=name, value=value, exampleOfWork=formal)

    def _actions(self) -> None:
        """Every job as a step of the workflow that was controlled to be done, and the study as what came of it all."""
        workflow, tools, controls, actions = self.crate.mainEntity, {}, [], []
        times, failed = self.times, dict(self._failed())
        for step in self.subject.steps:
            job = step.rule, step.name
            if job in self.subject.facts:
                action = self._done(step, times[job])
            elif job in failed:
                action = self._action(step, step.inputs, [], actionStatus=FAILED, error=failed[job])
            else:
                continue
            tools.setdefault(step.rule, self._tool(step.rule))
            name, position = f"orchestrate {action['name']}", self._step(step.rule, len(tools))
            control = f"#control/{step.rule}/{step.name}"
            controls.append(self._entity(control, "ControlAction", name=name, instrument=position, object=action))
            actions.append(action)
        workflow["hasPart"] = list(tools.values())
        workflow["step"] = [self._step(rule) for rule in tools]
        whole = self._study(times, bool(failed))
        snakemake = next((package for package in self.packages if package["name"] == "snakemake"), None)
        if snakemake is None:
            snakemake = self._entity("https://pypi.org/project/snakemake/", "SoftwareApplication", name="snakemake")
        name = f"orchestrate study {self.subject.study.name}"
        self._entity("#organised", "OrganizeAction", name=name, instrument=snakemake, object=controls, result=whole)
        self.crate.root_dataset["mentions"] = [whole, *actions]

    def _study(self, times: Mapping[Job, tuple[datetime, datetime]], failed: bool) -> Entity:
        study = self.subject.study
        made = [file for step in self.subject.steps if step.name == study.name for file in step.files if file in self.entities]
        raw = [path for dataset in study.datasets for path in self.subject.raw(dataset) if path in self.entities]
        values = {value: None for values in self.parameters.values() for value in values}
        return self._entity(
            "#study",
            "CreateAction",
            name=f"study {study.name}",
            description=f"all jobs of study {study.name}, {len(self.subject.missing)} of its {len(study.runs)} runs failed",
            instrument=self.crate.mainEntity,
            object=[*(self.entities[path] for path in raw), *values],
            result=[self.entities[file] for file in made],
            startTime=min(start for start, _ in times.values()).isoformat(),
            endTime=max(end for _, end in times.values()).isoformat(),
            actionStatus=FAILED if failed else COMPLETED,
        )

    def _done(self, step: Step, times: tuple[datetime, datetime]) -> Entity:
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
            startTime=times[0].isoformat(),
            endTime=times[1].isoformat(),
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
            action["environment"] = self._entity(f"#SLURM_JOB_ID={job}", "PropertyValue", name="SLURM_JOB_ID", value=job)
        return action

    def _known(self, kind: str, step: Step) -> list[Path]:
        """Return the files that a record names and that the crate holds or refers to as just these."""
        recorded = self.subject.recorded(kind, step.rule, step.name)
        there = {file: self.entities[file].get("sha256") for file in recorded if file in self.entities}
        return [file for file, digest in there.items() if digest == recorded[file]]

    def _action(self, step: Step, read: Iterable[Path], made: Iterable[Path], **properties: Any) -> Entity:
        return self._entity(
            f"#job/{step.rule}/{step.name}",
            "CreateAction",
            name=f"{step.rule} {step.name}",
            description=f"rule {step.rule} of {step.name}",
            instrument=self._tool(step.rule),
            object=[self.entities[file] for file in read if file in self.entities]
            + (self.parameters.get(step.name, []) if step.rule == "train" else []),
            result=[self.entities[file] for file in made if file in self.entities],
            **properties,
        )

    def _usage(self, step: Step, name: str, value: float) -> Entity:
        unit, what = USAGE[name]
        return self._entity(
            f"#usage/{step.rule}/{step.name}/{name}",
            "PropertyValue",
            name=what,
            propertyID=f"https://w3id.org/ro/terms/workflow-run#{name}",
            value=round(value, 3),
            unitCode=f"https://qudt.org/vocab/unit/{unit}",
        )

    def _failed(self) -> Iterator[tuple[Job, str]]:
        """Yield the jobs at which the runs of failures.csv failed, with the end of their logs."""
        for run, row in self.subject.missing.items():
            spec: AnyRun | None = self.subject.study.runs.get(run)
            if spec:
                yield (row["rule"], spec.dataset if row["rule"] in ("download", "prepare") else run), row["log"]

    def _tool(self, rule: str) -> Entity:
        """Return the source of a rule as what was run."""
        tool = self.entities[Path(IN_SNAKEFILE.get(rule, f"scripts/{rule}.py"))]
        tool.properties()["@type"] = ["File", "SoftwareSourceCode"]
        tool["version"] = _version()
        return tool

    def _step(self, rule: str, position: int = 0) -> Entity:
        return self._entity(f"#step/{rule}", "HowToStep", name=rule, position=str(position), workExample=self._tool(rule))


def _compact(properties: dict[str, Any]) -> None:
    """Write lists of one as that one, as RO-Crate recommends, and lists of none not at all."""
    for name, value in list(properties.items()):
        if value == []:
            del properties[name]
        elif isinstance(value, list) and len(value) == 1:
            properties[name] = value[0]


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every option of a spec as (training.epochs, 400); lists as JSON, and what is not set not at all."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else key)
    elif value is not None:
        yield name, json.dumps(value) if isinstance(value, list) else value


def _version() -> str:
    """Return the project's version and which code exactly this is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return f"{project['version']}+{code_digest()[:12]}"
