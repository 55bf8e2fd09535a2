"""What a crate says of things: every file, the data that it refers to, the runs' parameters and the packages."""

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

from mixvae.errors import UserError
from mixvae.provenance import ROOT, code_digest
from mixvae.review.audit.subject import Job, Subject
from mixvae.review.crate.contents import Item

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
SAFE = "/:#%=&?+,@~.-_"
"""What may stand in a name as it is."""
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
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        self.version = f"{project['version']}+{code_digest('export')[:12]}"
        self._root()
        for item in workflow:
            self.entities[Path(item.name)] = self._workflow_file(item)
        for file, item in results.items():
            self.entities[file] = self.crate.add_file(item.source, item.name, properties=item.properties)
        for dataset in subject.study.datasets:
            self._data(dataset)
        self.parameters = self._parameters()

    def entity(self, name: str, type: str | list[str], /, **properties: Any) -> Entity:
        """Return the contextual entity of this name, made at its first mention."""
        identifier = quote(name, safe=SAFE)
        if identifier in self.crate:
            return self.crate.get(identifier)
        return self.crate.add(ContextEntity(self.crate, identifier, {"@type": type, **properties}))

    def _root(self) -> None:
        study, root = self.subject.study, self.crate.root_dataset
        runs = f"{len(study.runs)} runs on {', '.join(study.datasets)}"
        root["name"] = f"mixvae study {study.name}"
        root["description"] = (
            f"Weights, likelihoods, codes, tables, figures and records of study {study.name}: {runs}, with the workflow that made them"
            f"{f' but for {len(others)} jobs, whose code was another' if (others := self.other_code) else ''}. "
            "Data sets are referred to and keep their own licences."
        )
        root["license"] = self.entity(LICENCE, "CreativeWork", name="MIT License", identifier=LICENCE)
        root["conformsTo"] = [
            self.entity(uri, "CreativeWork", name=name, version=uri.rpartition("/")[2]) for uri, name in PROFILES.items()
        ]
        root["datePublished"] = max(end for _, end in self.times.values()).isoformat()

    @property
    def other_code(self) -> list[Job]:
        """The jobs that were done by another code than the crate's."""
        present = {rule: code_digest(rule) for rule, _ in self.subject.facts}
        return [job for job, facts in self.subject.facts.items() if facts.get("code_sha256") != present[job[0]]]

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
            packages = facts.get("packages") if isinstance(facts.get("packages"), dict) else {}
            found |= {(name, str(version)) for name, version in packages.items()} | {("python", str(facts.get("python")))}
        return [self._package(name, version) for name, version in sorted(found) if name != "mixvae"]

    def _package(self, name: str, version: str) -> Entity:
        """Return one package, named by its package URL (purl)."""
        released, _, _ = version.partition("+")  # the index knows no builds
        uri = f"pkg:generic/python@{released}" if name == "python" else f"pkg:pypi/{name.lower()}@{released}"
        return self.entity(uri, "SoftwareApplication", name=name, version=version, url=uri)

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
        workflow["version"] = self.version
        workflow["license"] = self.crate.root_dataset["license"]
        workflow["softwareRequirements"] = self.packages
        return workflow

    def _data(self, dataset: str) -> None:
        """Refer to the raw files by where they are published, and to the prepared data by their checksum; neither is in the crate."""
        info = self.subject.study.datasets[dataset]
        about = {"license": info.licence, "citation": info.citation}
        prepared = self.subject.results / "datasets" / dataset / "data.npz"
        raw = zip(self.subject.raw(dataset), (file.sources for file in info.files.values()), strict=True)
        for path, sources in [*raw, (prepared, [])]:
            if not self.subject.there(path):
                continue
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
                self.entities[path] = self.entity(name, "CreativeWork", **what)

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
            formal[name] = self.entity(
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
        return self.entity(f"#parameter/{name}={value}", "PropertyValue", name=name, value=value, exampleOfWork=formal)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every option of a spec as (training.epochs, 400); lists as JSON, and what is not set not at all."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else key)
    elif value is not None:
        yield name, json.dumps(value) if isinstance(value, list) else value
