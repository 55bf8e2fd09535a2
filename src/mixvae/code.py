"""This file says which files of code a rule's results depend on, found from its imports, and gives their digest."""

import hashlib
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from mixvae.files import sha256

ROOT = Path(__file__).resolve().parents[2]
CODE = ("src", "scripts", "workflow", "Snakefile", "envs")
"""Where the code lies: other files of the checkout, such as a user's own, make no difference to it."""
ROOMS = ("study", "data", "nets", "distributions", "models", "fitting", "measuring", "summary", "review", "cluster")
"""The rooms of the library in the order in which data pass through them: a room imports only from those before it."""

IMPORT = re.compile(r"^ *from (mixvae[\w.]*) import (?:\(([^)]*)\)|(.*))$", re.MULTILINE)
IN_A_STRING = re.compile(r"[\"'](mixvae\.[\w.]*)(?=[\"'{])")
"""How the library's code names its modules: with absolute imports `from`, and in strings."""


@cache
def code_files(rule: str) -> tuple[Path, ...]:
    """Return the code that a rule runs: its script, and every module that this imports, at once, later or by name.

    Snakemake itself runs rule study, and gives it the listing of the study.
    """
    seen: set[Path] = set()
    waiting = {ROOT / ("src/mixvae/study/rules.py" if rule == "study" else f"scripts/{rule}.py")}
    while waiting:
        file = waiting.pop()
        seen.add(file)
        waiting |= {module for name in _imported(file.read_text()) for module in _modules(ROOT, name)} - seen
    return tuple(sorted(seen))


@cache
def code_digest(rule: str) -> str:
    """Return one sha256 over the names and contents of a rule's code.

    A change to other code, such as that of the report, makes no training count as made by other code.
    """
    digest = hashlib.sha256()
    for file in code_files(rule):
        digest.update(f"{file.relative_to(ROOT).as_posix()} {sha256(file)}\n".encode())
    return digest.hexdigest()


@cache
def _imported(text: str) -> frozenset[str]:
    """Return the names of the library that a file's text imports, or has in a string as `import_module` takes it.

    A string that goes on after the name of a package stands for all its modules. Every job asks this of a hundred files, for
    which syntax trees would take several times as long.
    """
    names = set(IN_A_STRING.findall(text))
    for package, several, one in IMPORT.findall(text):
        names.update(f"{package}.{name.split()[0]}" for name in (several or one).split(",") if name.strip())
    return frozenset(names)


@cache
def _modules(root: Path, name: str) -> tuple[Path, ...]:
    """Return the files that importing a name runs: the packages on its way, and its module."""
    folder, found = root / "src", []
    for part in name.split("."):
        if not part:
            return (*found, *folder.glob("*.py"))
        found += [path for path in (folder / f"{part}.py", folder / part / "__init__.py") if path.is_file()]
        folder /= part
    return tuple(found)


def git_state() -> dict[str, Any] | None:
    """Return the commit checked out and whether the code in the working tree differs from it; None outside a git checkout."""
    try:
        commit = _git("rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git("status", "--porcelain", "--", *CODE))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    # without optional locks, since several jobs of a study may ask git at the same time while the user commits
    command = ["git", "--no-optional-locks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
