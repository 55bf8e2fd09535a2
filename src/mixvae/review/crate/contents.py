"""Chooses the files of a crate: the workflow of this checkout, and the files that the study's jobs have made, without data."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mixvae.code import ROOT
from mixvae.errors import UserError
from mixvae.files import sha256
from mixvae.review.audit.reading import digests, locate
from mixvae.review.audit.subject import Subject
from mixvae.study import load
from mixvae.study.config_file import read_yaml
from mixvae.summary.results import StudyRuns

WORKFLOW = (
    *("Snakefile", "workflow/rules/*.smk", "workflow/logged.sh", "workflow/profiles/default/*", "scripts/*.py"),
    *("workflow/report/**/*.rst", "src/mixvae/**/*.py", "src/mixvae/**/*.html"),
    *("envs/*", "config/datasets.yaml", "config/published.csv", "Makefile", "pyproject.toml"),
    *("README.md", "LICENSE", "CITATION.cff"),
)
"""The files of the workflow. Other profiles are left out, since they name a user's cluster and account."""
PAGES = ("audit.json", "audit.md", "report.html", "provenance/report.json")
"""Files of a study that are made from its results, so that no record of a job names them; those that are there are copied."""
NOT_COPIED = ("data.npz",)
"""Prepared data; raw data are not copied either."""
FORMATS = {
    "": "text/plain", ".cff": "application/yaml", ".csv": "text/csv", ".h5ad": "application/x-hdf5", ".html": "text/html",
    ".json": "application/json", ".lock": "text/plain", ".md": "text/markdown", ".npz": "application/zip",
    ".parquet": "application/vnd.apache.parquet", ".pdf": "application/pdf", ".png": "image/png", ".py": "text/x-python",
    ".rst": "text/x-rst", ".safetensors": "application/octet-stream", ".sh": "application/x-sh", ".smk": "text/plain",
    ".tex": "application/x-tex", ".toml": "application/toml", ".yaml": "application/yaml",
}  # fmt: skip


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


def workflow(study: StudyRuns) -> Iterator[Item]:
    """Yield the files of this checkout that a study is made with, including its config."""
    files = {path for pattern in WORKFLOW for path in ROOT.glob(pattern) if path.is_file()}
    for path in sorted(files | _configs(study)):
        yield Item(path.relative_to(ROOT).as_posix(), path, sha256(path))


def _configs(study: StudyRuns) -> set[Path]:
    """Return the config of a study and the configs that it includes, if they lie in config/ and have the study's runs.

    A config that says where a user's own data or a mirror lie is left out; study.json has the runs without that.
    """
    try:
        expansion = load(ROOT / f"config/{study.name}.yaml")
    except UserError:
        return set()
    if expansion.runs != study.runs or expansion.own or expansion.study.data_mirror:
        return set()
    found: set[Path] = set()
    waiting = [study.name]
    while waiting:
        path = ROOT / f"config/{waiting.pop()}.yaml"
        if path not in found:
            found.add(path)
            waiting += read_yaml(path).get("include", [])
    return found


def results(subject: Subject) -> dict[Path, Item]:
    """Return the files that the study's jobs have made, by path; a link that leads out of the results is left out."""
    files = [file for job in subject.jobs for file in job.files if file.name not in NOT_COPIED]
    known = {file: subject.digests[file] for file in files}
    known |= digests([subject.folder / page for page in PAGES], subject.results)
    return {
        file: Item(f"results/{file.relative_to(subject.results).as_posix()}", locate(file, subject.results), digest)
        for file, digest in known.items()
        if isinstance(digest, str)
    }
