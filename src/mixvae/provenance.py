"""Every job leaves a provenance record, which says what it read and made, and by which code, where and when."""

import hashlib
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from mixvae.code import code_digest, git_state
from mixvae.errors import UserError
from mixvae.files import canonical_json, read_json, require_sha256, sha256, write_json


@contextmanager
def record(
    rule: str, path: Path, *, inputs: list[Path], outputs: list[Path], spec: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Write the record `path` once the body of the `with` has made `outputs`; nothing is written if the body fails.

    It yields the record's facts, to which the body adds what only the body knows, such as the device.
    """
    start, clock = datetime.now(UTC), time.monotonic()
    facts = {
        "rule": rule,
        "spec": spec,
        "seed": spec.get("seed") if spec else None,
        "inputs": {str(file): sha256(file) for file in inputs},
        "code_sha256": code_digest(rule),
        "git": git_state(),
        "packages": {facts["Name"]: facts["Version"] for facts in (item.metadata for item in distributions())},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "command": [Path(sys.executable).name, *sys.argv],
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),
        "device": cpu_name(),
        "start": start.isoformat(timespec="seconds"),
    }
    yield facts
    facts["outputs"] = {str(file): sha256(file) for file in outputs}
    facts["seconds"] = time.monotonic() - clock
    facts["peak_memory_mb"] = peak_memory_mb()
    write_json(path, facts | {"seal": seal(facts)})


def seal(facts: Mapping[str, Any]) -> str:
    """Return the sha256 of a record's content; the record holds it as its seal, so that an edit by mistake is noticed."""
    text = canonical_json({name: value for name, value in facts.items() if name != "seal"})
    return hashlib.sha256(text.encode()).hexdigest()


def verify_outputs(path: Path) -> None:
    """Check the files that the record `path` lists as outputs; raises UserError for one that has changed or is gone.

    A record that cannot be read is refused in the same way.
    """
    folder = path.parent.parent
    remedy = f"delete {folder} and run again"
    try:
        facts = read_json(path)
        outputs, _ = facts["outputs"].items(), facts["inputs"].items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a record of rule {path.stem} ({type(error).__name__}: {error}); {remedy}") from None
    for name, expected in outputs:
        require_sha256(folder / Path(name).name, expected, f"not what rule {path.stem} made, ", remedy)


def other_input(facts: Mapping[str, Any], known: Mapping[str, str]) -> str | None:
    """Return the first input of a record whose digest differs from that in `known`, or None; inputs not in `known` pass."""
    return next((name for name, digest in facts["inputs"].items() if known.get(name, digest) != digest), None)


def peak_memory_mb() -> float:
    """Return the most memory that this process has had, in MiB.

    The kernel's VmHWM comes first: getrusage may report the peak of the process that started this one.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cpu_name() -> str:
    """Return the processor's name as the kernel gives it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
