"""The manifest of a study: the digest of every record that its tables rest on, so that none can be edited unnoticed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mixvae.files import sha256, write_json
from mixvae.study.steps import Step

NAME = "manifest.json"
AFTER = ("tabulate", "figures")
"""Rules whose records are written after the manifest, so that only their seals vouch for them."""


def records(steps: Iterable[Step]) -> list[Path]:
    """Return the provenance files that the manifest of a study with these steps lists."""
    return [step.provenance for step in steps if step.rule not in AFTER]


def write(path: Path, steps: Iterable[Step], results: Path) -> None:
    """Write the manifest: {file relative to `results`: sha256} of every record that is there."""
    files = [file for file in records(steps) if file.is_file()]
    write_json(path, {file.relative_to(results).as_posix(): sha256(file) for file in files})
