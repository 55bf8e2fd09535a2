"""Executes users' own files: for the rules that must, and for nobody who only reads results.

A file is found by its sha256 among those that were offered, so that nothing is executed but what a spec names.
"""

import ast
import hashlib
import inspect
import sys
import traceback
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from mixvae.errors import UserError, one_line
from mixvae.files import canonical_json

SETTINGS, MODULE = "Settings", "Module"
"""The two classes of a part's file."""
STORE = Path("results/parts")
"""The folder with a copy of every own file that a study has named."""
_offered: dict[str, Path] = {}
_loaded: dict[str, ModuleType] = {}


def offer(*places: Path) -> None:
    """Allow the execution of files, or of those in folders, should a spec name their digests."""
    for file in (file for place in places for file in ([place] if place.is_file() else place.glob("*.py"))):
        _offered[hashlib.sha256(file.read_bytes()).hexdigest()] = file


def content_of(sha256: str, name: str) -> bytes:
    """Return the content of the file with a digest; raises UserError where none was offered, or it was changed since."""
    content = _offered[sha256].read_bytes() if sha256 in _offered else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(
            f"own part {name}: its file with sha256 {sha256} is gone or was changed; a study keeps it in {STORE}/, a run in its folder"
        )
    return content


def load(sha256: str, name: str) -> ModuleType:
    """Execute a file, once, and return its module with SETTINGS and MODULE; raises UserError that names the file's line."""
    if sha256 not in _loaded:
        content, path = content_of(sha256, name), _offered[sha256]
        _has_classes(content, path)
        module = ModuleType(f"mixvae_own_{name}")
        module.__file__ = str(path)
        sys.modules[module.__name__] = module  # pydantic looks up a class's annotations there
        try:
            exec(compile(content, str(path), "exec"), module.__dict__)
        except Exception as error:
            raise UserError(blame(error) or f"{path}: {_said(error)}") from None
        _loaded[sha256] = module
    return _loaded[sha256]


def _has_classes(content: bytes, path: Path) -> None:
    """Raise UserError for a file without the two classes of a part, before it is executed."""
    try:
        tree = ast.parse(content, str(path))
    except SyntaxError as error:
        raise UserError(f"{path}, line {error.lineno}: {_said(error)}") from None
    there = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    if missing := {SETTINGS, MODULE} - there:
        raise UserError(
            f"{path}: no class {min(missing)}; the file of a part has {SETTINGS} and {MODULE}, see docs/extending.md"
        )


def choose(registry: Mapping[type, Any], settings: Any) -> tuple[Any, Any]:
    """Return what builds the part that `settings` describe, and the settings as it takes them; raises UserError.

    `registry` has what builds the library's parts, by the class of their settings.
    """
    if type(settings) in registry:
        return registry[type(settings)], settings
    wanted = getattr(load(settings.sha256, settings.name), SETTINGS)
    return partial(build, settings.sha256, settings.name), read(wanted, settings.settings)


def build(sha256: str, name: str, *arguments: Any, **further: Any) -> Any:
    """Return the module of a file, built from arguments; raises UserError where it does not take them."""
    module = getattr(load(sha256, name), MODULE)
    try:
        inspect.signature(module).bind(*arguments, **further)
    except TypeError as error:
        raise UserError(f"{_offered[sha256]}: {MODULE} does not take the arguments of docs/extending.md: {error}") from None
    return module(*arguments, **further)


def read(settings: type[Any], values: Mapping[str, Any]) -> Any:
    """Return the settings of a part from what a config or a spec says; raises pydantic.ValidationError.

    They are read as JSON, in which a list may stand for a tuple.
    """
    return settings.model_validate_json(canonical_json(values))


def blame(error: BaseException) -> str | None:
    """Return in one line what went wrong in which line of an own file; None where no own file took part."""
    ours = {str(path) for path in _offered.values()}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in ours]
    return f"{frames[-1].filename}, line {frames[-1].lineno}, in {frames[-1].name}: {_said(error)}" if frames else None


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {one_line(str(error).strip().split(chr(10))[0])}"
