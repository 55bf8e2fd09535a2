"""The manifest of a study has the digest of every record that its tables rest on, so that none can be edited unnoticed."""

from collections.abc import Iterable
from pathlib import Path

from mixvae.files import sha256, write_json
from mixvae.study.jobs import Job

NAME = "manifest.json"
AFTER = ("tabulate", "figures")
"""Rules whose records are written after the manifest, so that only their seals vouch for them."""


def write(path: Path, jobs: Iterable[Job], results: Path) -> None:
    """Write the manifest: {file relative to `results`: sha256} of every record that is there."""
    files = [job.provenance for job in jobs if job.rule not in AFTER and job.provenance.is_file()]
    write_json(path, {file.relative_to(results).as_posix(): sha256(file) for file in files})
