"""Reads what a Snakemake profile asks SLURM for, in the same way as Snakemake."""

import ast
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixvae.errors import UserError
from mixvae.study.config_file import read_yaml

FOLDER = Path("workflow/profiles")
GPU_RULES = ("train", "evaluate", "bracket")
"""Rules that ask for a GPU when the study says `gpu: 1`."""
OTHERS = "other rules"
OPTIONS = {"slurm_partition": "partition", "slurm_account": "account"} | {key: key for key in ("constraint", "qos", "gres")}
"""The options of sbatch by the resources that ask for them."""


@dataclass(frozen=True)
class Request:
    """What jobs of some rules ask SLURM for, apart from memory and time."""

    rules: str
    resources: dict[str, Any]

    @property
    def gpu(self) -> bool:
        """Whether the request includes a GPU."""
        asked = self.resources.get("gpu") or self.resources.get("gpu_model") or "gpu" in str(self.resources.get("gres", ""))
        return bool(asked)

    @property
    def title(self) -> str:
        """The heading of what is said about its trial job."""
        return f"{'GPU job' if self.gpu else 'job'} ({self.rules})"

    @property
    def asked(self) -> str:
        """The request as messages name it."""
        return " ".join(self.options()) or "nothing but SLURM's defaults"

    def options(self) -> list[str]:
        """Return the request as options of sbatch, in the way of Snakemake's executor."""
        options = [f"--{option}={self.resources[key]}" for key, option in OPTIONS.items() if self.resources.get(key)]
        number = self.resources.get("gpu") or 1
        if model := self.resources.get("gpu_model"):
            options.append(f"--gpus={model}:{number}")
        elif self.resources.get("gpu"):
            options.append(f"--gpus={number}")
        return options + shlex.split(str(self.resources.get("slurm_extra", "")))


def find(name: str) -> Path:
    """Return the folder of a profile; raises UserError."""
    folder = FOLDER / name
    if not name or not folder.is_dir():
        known = sorted(folder.name for folder in FOLDER.iterdir())
        raise UserError(f"{folder}: no such profile; there are {', '.join(known)}")
    return folder


def read(path: Path) -> dict[str, Any]:
    """Return the settings in a profile's config.yaml; raises UserError."""
    profile = read_yaml(path)
    if not isinstance(profile, dict):
        raise UserError(f"{path}: expected Snakemake's options as key: value, found {profile!r}")
    return profile


def number(path: Path, profile: dict[str, Any], key: str, default: int) -> int:
    """Return a whole number among the settings; raises UserError."""
    value = profile.get(key, default)
    try:
        return int(value)
    except (TypeError, ValueError):
        raise UserError(f"{path}: {key}: expected a whole number, found {value!r}") from None


def pairs(path: Path, key: str, value: Any) -> dict[str, Any]:
    """Return resources that are written as a mapping or as a list of `name=value`; raises UserError."""
    if isinstance(value, dict):
        return value
    items = value.split() if isinstance(value, str) else value or []
    if not isinstance(items, list) or not all(isinstance(item, str) and "=" in item for item in items):
        raise UserError(f"{path}: {key}: expected name: value or a list of name=value, found {value!r}")
    return {name: _literal(text) for name, _, text in (item.partition("=") for item in items)}


def requests(path: Path, profile: dict[str, Any], gpu: int | None) -> list[Request]:
    """Return the different requests of a profile, each once, with the rules that make it; `gpu` is None without a study."""
    base = pairs(path, "default-resources", profile.get("default-resources"))
    given = profile.get("set-resources")
    own: dict[str, dict[str, Any]] = {}
    if isinstance(given, dict):
        own = {rule: pairs(path, f"set-resources.{rule}", value) for rule, value in given.items()}
    else:
        for name, value in pairs(path, "set-resources", given).items():
            rule, _, resource = name.partition(":")
            own.setdefault(rule, {})[resource] = value
    trained = base if gpu is None else base | {"gpu": gpu}
    rules = {OTHERS: base} | dict.fromkeys(GPU_RULES, trained) | {rule: base for rule in own if rule not in GPU_RULES}
    found: dict[str, tuple[list[str], Request]] = {}
    for rule, resources in rules.items():
        request = Request(rule, resources | own.get(rule, {}))
        found.setdefault(shlex.join(request.options()), ([], request))[0].append(rule)
    return [Request(", ".join(names), request.resources) for names, request in found.values()]


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
