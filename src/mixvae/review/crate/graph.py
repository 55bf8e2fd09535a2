"""Describes things in a crate's graph: every file, the data that it refers to, the runs' parameters and the packages."""

import json
import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from rocrate.model import ContextEntity
from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from mixvae.code import ROOT, code_digest
from mixvae.errors import UserError
from mixvae.review.audit.subject import Subject
from mixvae.study.jobs import JobKey
from mixvae.summary.columns import flat

VERSION = "1.1"
"""The version of RO-Crate on which the profiles below rest."""
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
TERMS = {name: f"https://w3id.org/ro/terms/workflow-run#{name}" for name in ("sha256", "environment", "resourceUsage")}
"""The terms of workflow runs, which the context of RO-Crate 1.1 lacks."""
BIOSCHEMAS = "https://bioschemas.org/profiles"
LICENCE = "https://spdx.org/licenses/MIT"
SAFE = "/:#%=&?+,@~.-_"
"""Characters that may stand in a name as they are."""
FORMATS = {
    "": "text/plain", ".cff": "application/yaml", ".csv": "text/csv", ".h5ad": "application/x-hdf5", ".html": "text/html",
    ".json": "application/json", ".lock": "text/plain", ".md": "text/markdown", ".npz": "application/zip",
    ".parquet": "application/vnd.apache.parquet", ".pdf": "application/pdf", ".png": "image/png", ".py": "text/x-python",
    ".rst": "text/x-rst", ".safetensors": "application/octet-stream", ".sh": "application/x-sh", ".smk": "text/plain",
    ".tex": "application/x-tex", ".toml": "application/toml", ".yaml": "application/yaml",
}  # fmt: skip
TYPES = {bool: "Boolean", int: "Integer", float: "Float", str: "Text"}


class Item(NamedTuple):
    """A file of the crate: its name in the crate, the path that it is read from, and its sha256."""

    name: str
    source: Path
    sha256: str

    @property
    def properties(self) -> dict[str, Any]:
        """The properties that the graph has of every file."""
        format = FORMATS.get(Path(self.name).suffix, "application/octet-stream")
        size = str(self.source.stat().st_size)
        return {"name": self.name, "encodingFormat": format, "contentSize": size, "sha256": self.sha256}


class Graph:
    """The graph of one study, filled as it is made.

    crate: The crate object of rocrate.
    entities: By path, the entity of each file.
    parameters: By run, the entities of the values of all parameters of its spec.
    other_code: The jobs that were done by other code than the crate's.
    """

    def __init__(self, subject: Subject, workflow: Iterable[Item], results: Mapping[Path, Item]) -> None:
        self.subject = subject
        self.crate = ROCrate(version=VERSION)
        self.crate.metadata.extra_terms |= TERMS
        self.packages = self._packages()
        present = {rule: code_digest(rule) for rule, _ in subject.facts}
        self.other_code = [key for key, facts in subject.facts.items() if facts.get("code_sha256") != present[key[0]]]
        self.version = (
            f"{tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['version']}+{code_digest('export')[:12]}"
        )
        self._root()
        self.entities: dict[Path, Entity] = {Path(item.name): self._workflow_file(item) for item in workflow}
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

    def known(self, files: Iterable[Path]) -> list[Entity]:
        """Return the entities of those files that the crate holds or refers to."""
        return [self.entities[file] for file in files if file in self.entities]

    def _root(self) -> None:
        study, root = self.subject.study, self.crate.root_dataset
        root["name"] = f"mixvae study {study.name}"
        root["description"] = (
            f"Weights, likelihoods, codes, tables, figures and records of study {study.name}: {len(study.runs)} runs on "
            f"{', '.join(study.datasets)}, with the workflow that made them"
            f"{f' but for {len(self.other_code)} jobs, whose code was another' if self.other_code else ''}. "
            "Data sets are referred to and keep their own licences."
        )
        root["license"] = self.entity(LICENCE, "CreativeWork", name="MIT License", identifier=LICENCE)
        root["conformsTo"] = [
            self.entity(uri, "CreativeWork", name=name, version=uri.rpartition("/")[2]) for uri, name in PROFILES.items()
        ]
        root["datePublished"] = max(end for _, end in self.times.values()).isoformat()

    @cached_property
    def times(self) -> dict[JobKey, tuple[datetime, datetime]]:
        """When each job on record began and ended. Raises UserError for records that do not say."""
        times = {}
        try:
            for key, facts in self.subject.facts.items():
                start = datetime.fromisoformat(facts["start"]).astimezone(UTC)
                times[key] = start, start + timedelta(seconds=round(facts["seconds"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{self.subject.folder}: a record does not say when its job began and ended ({error})") from None
        if not times:
            raise UserError(f"{self.subject.folder}: no records, so there is nothing to export; make ablation first")
        return times

    def _packages(self) -> list[Entity]:
        """Return all packages that any job had, each version once, and python itself, named by their package URLs (purl)."""
        found = set()
        for facts in self.subject.facts.values():
            packages = facts.get("packages") if isinstance(facts.get("packages"), dict) else {}
            found |= {(name, str(version)) for name, version in packages.items()} | {("python", str(facts.get("python")))}
        entities = []
        for name, version in sorted(found - {pair for pair in found if pair[0] == "mixvae"}):
            released, _, _ = version.partition("+")  # the index knows no builds
            uri = f"pkg:generic/python@{released}" if name == "python" else f"pkg:pypi/{name.lower()}@{released}"
            entities.append(self.entity(uri, "SoftwareApplication", name=name, version=version, url=uri))
        return entities

    def _workflow_file(self, item: Item) -> Entity:
        if item.name != "Snakefile":
            file = self.crate.add_file(item.source, item.name, properties=item.properties)
            if item.name == "README.md":
                file["about"] = self.crate.root_dataset
            return file
        workflow = self.crate.add_workflow(item.source, item.name, main=True, lang="snakemake", properties=item.properties)
        workflow.properties()["@type"] = [*workflow.properties()["@type"], "HowTo"]
        workflow["conformsTo"] = {"@id": f"{BIOSCHEMAS}/ComputationalWorkflow/1.0-RELEASE"}
        workflow["version"] = self.version
        workflow["license"] = self.crate.root_dataset["license"]
        workflow["softwareRequirements"] = self.packages
        return workflow

    def _data(self, dataset: str) -> None:
        """Refer to the raw files by their published address, and to the prepared data by checksum; neither is in the crate."""
        info, subject = self.subject.study.datasets[dataset], self.subject
        times = self.times.get(("download", dataset))
        accessed = times[0].isoformat() if times else self.crate.root_dataset["datePublished"]
        raw = dict(zip(subject.raw(dataset), (file.sources for file in info.files.values()), strict=True))
        prepared = subject.results / "datasets" / dataset / "data.npz"
        for path, sources in (raw | {prepared: []}).items():
            if not subject.there(path):
                continue
            published = [source for source in sources if source.startswith(("https://", "http://"))]
            packaged = [source for source in sources if source.startswith("package://")]
            what = {"name": f"{dataset}: {path.name}", "description": info.title, "license": info.licence}
            what |= {"citation": info.citation, "sha256": subject.digests[path], "contentSize": str(path.stat().st_size)}
            if published:
                what |= {"encodingFormat": "application/octet-stream", "sdDatePublished": accessed}
                self.entities[path] = self.crate.add_file(quote(published[0], safe=SAFE), properties=what)
            else:
                what["text"] = "not in the crate" + "".join(f"; comes as {source}" for source in packaged)
                name = f"#{path.relative_to(subject.results).as_posix()}"
                self.entities[path] = self.entity(name, "CreativeWork", **what)

    def _parameters(self) -> dict[str, list[Entity]]:
        """Return by run the values of all parameters of its spec, each value once, an example of its formal parameter."""
        values: dict[str, dict[str, Any]] = {}  # by run, every option that is set, as {training.epochs: 400}, lists as JSON
        for run, spec in self.subject.study.runs.items():
            options = {name: value for name, value in flat(spec.model_dump(mode="json")).items() if value is not None}
            values[run] = {name: json.dumps(it) if isinstance(it, list) else it for name, it in options.items()}
        formal, profile = {}, {"@id": f"{BIOSCHEMAS}/FormalParameter/1.0-RELEASE"}
        for name in sorted({name for of_run in values.values() for name in of_run}):
            kinds = {TYPES[type(of_run[name])] for of_run in values.values() if name in of_run}
            about = {"name": name, "additionalType": kinds.pop() if len(kinds) == 1 else "PropertyValue"}
            formal[name] = self.entity(f"#parameter/{name}", "FormalParameter", **about, conformsTo=profile)
        self.crate.mainEntity["input"] = list(formal.values())
        return {
            run: [
                self.entity(f"#parameter/{name}={value}", "PropertyValue", name=name, value=value, exampleOfWork=formal[name])
                for name, value in of_run.items()
            ]
            for run, of_run in values.items()
        }
