"""Study: one YAML file in config/, expanded into runs."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import Field, ValidationError

from mixvae.errors import UserError, did_you_mean
from mixvae.spec.base import Frozen
from mixvae.spec.catalogue import DatasetInfo, catalogue
from mixvae.spec.explain import explain, key_path
from mixvae.spec.run import MODELS, Constant, MixtureVAE, parse_run

RESERVED = ("runs", "datasets", "reference")
CONTROL_LIKELIHOOD = {"binary_image": "bernoulli", "counts": "nb"}


class Study(Frozen):
    """A named set of runs.

    Every key of a block of `runs` may be a list: the block stands for all combinations of its lists.
    """

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")]
    description: str = ""
    data_mirror: str | None = None
    gpu: Literal[0, 1] = 0
    runs: Annotated[list[dict[str, Any]], Field(min_length=1)]


class Expansion(NamedTuple):
    """The runs of a study by id, controls included, and the combinations left out as (combination, reason)."""

    study: Study
    runs: dict[str, MixtureVAE | Constant]
    skipped: list[tuple[dict[str, Any], str]]
    datasets: dict[str, DatasetInfo]


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, but a key written twice is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} cannot be a key", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands here twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def find_config(name: str, folder: Path) -> Path:
    """Return the config file that `name` means: a path, or the name of a file in `folder`. Raises UserError."""
    if not name:
        raise UserError("STUDY is empty; give a name in config/ or a path")
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.parent != Path():
        if path.is_file():
            return path
        raise UserError(f"{path}: no such config file; STUDY is a name in {folder.name}/ or a path")
    path = folder / f"{name}.yaml"
    if path.is_file() and name != "datasets":
        return path
    studies = sorted(p.stem for p in folder.glob("*.yaml") if p.stem != "datasets")
    raise UserError(f"{folder.name}/{name}.yaml: no study {name!r}{did_you_mean(name, studies)}")


def read_yaml(path: Path) -> Any:
    """Parse a config file; raises UserError with the line and column of what could not be read."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UserError(f"{path}: {place}{error.problem or error.context}; the YAML cannot be read") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable YAML file: {str(error).splitlines()[0]}") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


def expand(config: Any, source: str) -> Expansion:
    """Validate a parsed config and expand it into runs.

    Arguments:
        config: The mapping read from YAML.
        source: What to call it in messages, usually the file's path.

    Raises UserError on the first thing that is wrong.
    """
    if config is None:
        raise UserError(f"{source}: the file is empty; expected keys {', '.join(Study.model_fields)}")
    if not isinstance(config, dict):
        raise UserError(f"{source}: expected keys {', '.join(Study.model_fields)} at the top, found {config!r}")
    try:
        study = Study.model_validate(dict(config))
    except ValidationError as error:
        raise UserError(f"{source}: {explain(error, [Study])}") from None
    if study.study in RESERVED:
        raise UserError(f"{source}: study: {study.study!r} is a folder of results/ already; choose another name")
    runs: dict[str, MixtureVAE | Constant] = {}
    skipped: list[tuple[dict[str, Any], str]] = []
    for number, block in enumerate(study.runs):
        for combination, axes in _combinations(block, source, number):
            spec = _parse(combination, axes, source, number)
            if spec.dataset not in catalogue():
                where = _where(number, "dataset", axes)
                raise UserError(
                    f"{source}: {where}: unknown data set {spec.dataset!r}{did_you_mean(spec.dataset, catalogue())}"
                )
            if reason := spec.skip_reason(catalogue()[spec.dataset]):
                skipped.append((combination, reason))
            else:
                _add(runs, spec)
    if not runs:
        raise UserError(f"{source}: runs: no combination makes sense; the first was left out because {skipped[0][1]}")
    names = sorted({spec.dataset for spec in runs.values()})
    for name in names:
        likelihood = CONTROL_LIKELIHOOD[catalogue()[name].kind]
        _add(runs, Constant(model="constant", dataset=name, likelihood=likelihood))
    return Expansion(study, runs, skipped, {name: catalogue()[name] for name in names})


def load(path: Path) -> Expansion:
    """Read, validate and expand a config file. Raises UserError."""
    expansion = expand(read_yaml(path), str(path))
    mirror = expansion.study.data_mirror
    # here and not in `expand`, since a cluster's compute nodes need not see the mirror
    if mirror and "://" not in mirror and not Path(mirror).is_dir():
        raise UserError(f"{path}: data_mirror: {mirror}: no such folder; correct or remove it")
    return expansion


def _add(runs: dict[str, MixtureVAE | Constant], spec: MixtureVAE | Constant) -> None:
    if runs.setdefault(spec.id, spec) != spec:
        raise UserError(f"two different runs share the id {spec.id}; change any hyperparameter of one of them")


def _combinations(block: dict[str, Any], source: str, number: int):
    """Yield (combination, axes), where axes tells which element of each list was taken."""
    axes = {key: value for key, value in block.items() if isinstance(value, list)}
    for key, values in axes.items():
        if not values:
            raise UserError(f"{source}: {key_path(('runs', number, key))}: found []; an empty list names no run")
    for indices in itertools.product(*(range(len(values)) for values in axes.values())):
        taken = dict(zip(axes, indices, strict=True))
        yield {key: axes[key][taken[key]] if key in taken else value for key, value in block.items()}, taken


def _where(number: int, key: str, axes: dict[str, int]) -> str:
    return key_path(("runs", number, key, axes[key]) if key in axes else ("runs", number, key))


def _parse(combination: dict[str, Any], axes: dict[str, int], source: str, number: int) -> MixtureVAE | Constant:
    model = combination.get("model", "vae")
    if not isinstance(model, str) or model not in MODELS:
        raise UserError(f"{source}: {_where(number, 'model', axes)}: unknown model {model!r}{did_you_mean(model, MODELS)}")
    try:
        return parse_run({"model": model, **combination})
    except ValidationError as error:
        text = explain(error, [MODELS[model]], ("runs", number))
        # name the element of the list that was at fault, not the whole axis
        for key in axes:
            plain = key_path(("runs", number, key))
            if text.startswith((f"{plain}:", f"{plain}.")):
                text = _where(number, key, axes) + text.removeprefix(plain)
        raise UserError(f"{source}: {text}") from None


def describe(expansion: Expansion) -> str:
    """Return one line that counts what a study holds."""
    controls = sum(spec.model == "constant" for spec in expansion.runs.values())
    models = len(expansion.runs) - controls
    names = ", ".join(expansion.datasets)
    return f"study {expansion.study.study}: {models} runs and {controls} controls on {names}; {len(expansion.skipped)} skipped"
