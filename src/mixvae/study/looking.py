"""Finds out what a config's own parts are: a part may be a file's path, or a name under which a package offers a file.

What only the file can tell is asked of a process of its own, since it must be executed and needs torch, which this room does not
import. Answers are remembered by the file's sha256, so that cluster jobs, which expand the config again, execute nothing.
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple, get_args

from mixvae.code import ROOT, code_digest
from mixvae.errors import UserError
from mixvae.files import atomic, canonical_json, write_json
from mixvae.own import STORE
from mixvae.study import parts
from mixvae.study.catalogue import DatasetInfo
from mixvae.study.own_data import find_file, read_cache
from mixvae.study.own_parts import NAME, kept_as
from mixvae.study.run import MODELS, Run

KINDS = {
    "prior": "prior", "flow": "flow", "likelihood": "likelihood", "encoder": "encoder", "lower": "encoder", "decoder": "decoder",
}  # fmt: skip
"""The kind of part that each key of a block of runs takes."""
LIBRARY = {
    kind: {get_args(part.model_fields["name"].annotation)[0] for part in get_args(get_args(getattr(parts, kind.title()))[0])}
    for kind in set(KINDS.values())
} | {"model": set(MODELS)}
"""The names of the library's parts by kind."""
ENTRY_POINTS = "mixvae_parts"
"""The group of entry points by which packages offer parts: a name, and the module that has the part."""
CACHE = STORE / ".looked.json"


class OwnFile(NamedTuple):
    """A file that a config names.

    path: Where it lies.
    name: The name of the part in ids and tables.
    """

    path: Path
    name: str
    sha256: str


class NotExecuted(UserError):
    """An own file would have to be executed to expand a config."""


class WrongBeside(UserError):
    """A setting that stands beside an own model, and not in its file, is wrong; the message begins with the setting's key."""


class Looker:
    """Asks own files what an expansion must know of them; use it in a `with`, at whose end the processes end.

    Arguments:
        mirror: The study's data mirror, in which relative paths are also looked for.
        execute: Whether a file that is not known yet may be executed; it may not for those who read the results of others.
    """

    def __init__(self, mirror: str | None, execute: bool) -> None:
        self.mirror, self.execute = mirror, execute
        self.answers = read_cache(CACHE)
        self.known = len(self.answers)
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.deciding: dict[str, OwnFile] = {}  # files that may refuse a run, by sha256

    def __enter__(self) -> "Looker":
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes.values():
            with contextlib.suppress(OSError):  # one that has died takes no more
                process.stdin.close()
            process.wait()
        if len(self.answers) > self.known and self.execute:
            with contextlib.suppress(OSError):  # jobs that start together may lose an answer, which is only asked again
                write_json(CACHE, read_cache(CACHE) | self.answers)

    def part(self, key: str, value: Any) -> Any:
        """Return the value of a block's key, with an own part described as data. Raises UserError."""
        named = self._named(KINDS[key], value)
        if named is None:
            return value
        file, settings = named
        said = self._ask(file, {"ask": "part", "kind": KINDS[key], "settings": settings})
        if said["decides"]:
            self.deciding[file.sha256] = file
        return said["part"]

    def model(self, block: dict[str, Any], dataset: DatasetInfo) -> tuple[dict[str, Any], str | None] | None:
        """Return the run of a block whose model is an own one as data, and why it is skipped; None for the library's models.

        The own parts in the block are described as data already. Raises UserError.
        """
        named = self._named("model", block.get("model", "vae"))
        if named is None:
            return None
        file, settings = named
        run = {key: value for key, value in block.items() if key != "model"}
        about = {"ask": "model", "kind": "model", "settings": settings, "run": run, "dataset": _described(dataset)}
        said = self._ask(file, about)
        return said["part"], said["skip"]

    def skip_reason(self, spec: Run, dataset: DatasetInfo) -> str | None:
        """Return why one of a run's own parts does not fit it, in the part's own words. Raises UserError."""
        about = {"ask": "skip", "run": spec.training_spec(), "dataset": _described(dataset)}
        for key, kind in KINDS.items():
            part = getattr(spec, key, None)
            if file := self.deciding.get(getattr(part, "sha256", None)):
                reason = self._ask(file, about | {"kind": kind, "settings": part.settings})["skip"]
                if reason is not None:
                    return reason
        return None

    def _named(self, kind: str, value: Any) -> tuple[OwnFile, dict[str, Any]] | None:
        """Return the own file that a value names, and its settings; None for a part of the library, or for nonsense."""
        settings = dict(value) if isinstance(value, dict) else {}
        name = settings.pop("path", settings.pop("name", None)) if settings else value
        if not isinstance(name, str):
            return None
        if name.endswith(".py") or "path" in (value if isinstance(value, dict) else ()):
            path = find_file(name, self.mirror, (".py",))
            name = path.stem
        elif name in LIBRARY[kind] or (path := _offered(name)) is None:
            return None
        if not NAME.fullmatch(name):
            raise UserError(f"{path}: the name of a part's file has letters, digits and _, and begins with a letter; rename it")
        if name in LIBRARY[kind]:
            raise UserError(f"{path}: the library has {kind} {name}; rename the file, which names the part in tables")
        content = path.read_bytes()
        file = OwnFile(path, name, hashlib.sha256(content).hexdigest())
        self._keep(file, content)
        return file, settings

    def _keep(self, file: OwnFile, content: bytes) -> None:
        """Copy a file to where the study's jobs look for it: they run what was there when the study was expanded."""
        copy = STORE / kept_as(file.name, file.sha256)
        if self.execute and not copy.is_file():
            STORE.mkdir(parents=True, exist_ok=True)
            with atomic(copy) as temporary:
                temporary.write_bytes(content)

    def _ask(self, file: OwnFile, question: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a question, see `mixvae.cluster.look_part`. Raises UserError for what is wrong with the file."""
        key = hashlib.sha256(canonical_json([code_digest("look_part"), file.name, file.sha256, question]).encode()).hexdigest()
        if key not in self.answers:
            if not self.execute:
                raise NotExecuted(
                    f"{file.path}: new or changed since make check, and reading results never executes a user's own part"
                )
            answer = self._send(file, question | {"file": str(file.path), "name": file.name, "sha256": file.sha256})
            if "error" in answer:
                raise (WrongBeside if "beside" in answer else UserError)(answer["error"])
            self.answers[key] = answer
        return self.answers[key]

    def _send(self, file: OwnFile, question: dict[str, Any]) -> dict[str, Any]:
        if file.sha256 not in self.processes:
            print(f"{file.path}: executed, to learn what it is", file=sys.stderr)
            command = [sys.executable, str(ROOT / "scripts/look_part.py"), str(file.path)]
            environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self.processes[file.sha256] = subprocess.Popen(command, env=environment, **pipes)
        process = self.processes[file.sha256]
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())
        except (OSError, ValueError):
            raise UserError(f"{file.path}: executing it ended its process (exit code {process.wait()}); see above") from None


def _described(dataset: DatasetInfo) -> dict[str, Any]:
    """Return a data set's entry without its files, since a part is the same wherever they lie."""
    return dataset.model_dump(mode="json") | {"files": {}}


def _offered(name: str) -> Path | None:
    """Return the file that a package offers under a name; the package is not imported. Raises UserError for a missing file."""
    found = list(entry_points(group=ENTRY_POINTS, name=name))
    if not found:
        return None
    point = found[0]
    path = Path(str(point.dist.locate_file(point.module.replace(".", "/") + ".py")))
    if not path.is_file():
        raise UserError(f"package {point.dist.name} offers part {name} as {point.value}, but has no file {path}")
    return path
