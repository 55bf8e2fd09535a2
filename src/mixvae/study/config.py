"""This file checks a study's config and expands it into runs."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError, model_validator

from mixvae.errors import UserError, did_you_mean
from mixvae.study.base import Frozen
from mixvae.study.catalogue import PATH, DatasetInfo, catalogue
from mixvae.study.config_file import find_config, read_yaml
from mixvae.study.explain import explain, key_path
from mixvae.study.looking import KINDS, Looker, WrongBeside
from mixvae.study.own_data import names_a_file, resolve
from mixvae.study.reading import parse_run
from mixvae.study.run import MODELS, Run
from mixvae.study.systems import Constant, OwnModel

OWN_DATA_CACHE = Path("results/datasets/.own.json")
"""The cache of facts about users' own files, so that not every job reads them again."""
RESERVED = ("runs", "datasets", "reference")
FOLDER = PATH.parent
"""The folder in which the studies of an `include` are looked for."""


class Study(Frozen):
    """A named set of runs.

    Every key of a block of `runs` may be a list: the block stands for all combinations of its lists. `include` names other
    studies whose runs are part of this one.
    """

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")]
    description: str = ""
    data_mirror: str | None = None
    gpu: Literal[0, 1] = 0
    include: list[str] = Field([])
    runs: list[dict[str, Any]] = Field([])

    @model_validator(mode="after")
    def _has_runs(self) -> Study:
        if not self.runs and not self.include:
            raise ValueError("a study needs runs, or studies to include")
        return self


class Expansion(NamedTuple):
    """The result of expanding a study's config.

    runs: The runs by id, controls included.
    skipped: The combinations that were left out, as (combination, reason).
    datasets: The entries of the data sets by name.
    own: The names of those data sets that are users' own files.
    """

    study: Study
    runs: dict[str, Run]
    skipped: list[tuple[dict[str, Any], str]]
    datasets: dict[str, DatasetInfo]
    own: frozenset[str]


def expand(config: Any, source: str, execute: bool = True) -> Expansion:
    """Validate a parsed config and expand it into runs.

    Arguments:
        config: The mapping read from YAML.
        source: The config's name in messages, usually the file's path.
        execute: Whether users' own parts that are not known yet may be executed; not for those who only read results.

    Raises UserError on the first thing that is wrong.
    """
    study = _parse_study(config, source)
    if study.study in RESERVED:
        raise UserError(f"{source}: study: {study.study!r} is a folder of results/ already; choose another name")
    runs: dict[str, Run] = {}
    skipped: list[tuple[dict[str, Any], str]] = []
    datasets: dict[str, DatasetInfo] = {}
    with Looker(study.data_mirror or os.environ.get("MIXVAE_DATA"), execute) as looker:
        for file, number, block in _blocks(study, source):
            for combination, axes in _combinations(block, file, number):
                where = f"{file}: {_where(number, 'dataset', axes)}"
                combination, info = _with_data(combination, where, study.data_mirror)
                spec, reason = _with_parts(combination, info, looker, axes, file, number)
                if reason:
                    skipped.append((combination, reason))
                else:
                    _add(runs, spec, file)
                    datasets[spec.dataset] = info
    if not runs:
        raise UserError(f"{source}: runs: no combination makes sense; the first was left out because {skipped[0][1]}")
    for spec in list(runs.values()):
        if likelihood := spec.likelihood.of_control:
            control = Constant(model="constant", dataset=spec.dataset, data=spec.data, likelihood=likelihood)
            _add(runs, control, source)
    own = frozenset(spec.dataset for spec in runs.values() if spec.data)
    return Expansion(study, runs, skipped, dict(sorted(datasets.items())), own)


def _parse_study(config: Any, source: str) -> Study:
    if config is None:
        raise UserError(f"{source}: the file is empty; expected keys {', '.join(Study.model_fields)}")
    if not isinstance(config, dict):
        raise UserError(f"{source}: expected keys {', '.join(Study.model_fields)} at the top, found {config!r}")
    try:
        return Study.model_validate(dict(config))
    except ValidationError as error:
        raise UserError(f"{source}: {explain(error, [Study])}") from None


def _blocks(study: Study, source: str, above: tuple[str, ...] = ()) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield (file, number, block) of every block of `runs`, those of the included studies first."""
    for name in study.include:
        if name in above:
            raise UserError(f"{source}: include: {' includes '.join((*above[above.index(name) :], name))}; remove one")
        try:
            path = find_config(name, FOLDER)
            included = read_study(path)
        except UserError as error:
            raise UserError(f"{source}: include: {error}") from None
        yield from _blocks(included, str(path), (*above, name))
    yield from ((source, number, block) for number, block in enumerate(study.runs))


def _with_data(combination: dict[str, Any], where: str, mirror: str | None) -> tuple[dict[str, Any], DatasetInfo | None]:
    """Return the combination with its data set's name, and the data set's entry; a user's own file is looked at for it."""
    value = combination.get("dataset")
    if "data" in combination:
        raise UserError(f"{where}: the key 'data' is not for a config; write dataset: path or dataset: {{path: ...}}")
    if names_a_file(value):
        try:
            name, data, info = resolve(value, mirror or os.environ.get("MIXVAE_DATA"), OWN_DATA_CACHE)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        return {**combination, "dataset": name, "data": data.model_dump(mode="json")}, info
    if not isinstance(value, str):
        return combination, None  # which parsing it refuses
    if value not in catalogue():
        near = did_you_mean(value, catalogue())
        raise UserError(f"{where}: unknown data set {value!r}{near}; or give the path of an .npz or .h5ad")
    return combination, catalogue()[value]


def _with_parts(
    combination: dict[str, Any], info: DatasetInfo | None, looker: Looker, axes: dict[str, int], file: str, number: int
) -> tuple[Run, str | None]:
    """Return the run of a combination, and why it is skipped, if it is; its own parts are looked at for it."""
    described = dict(combination)
    try:
        for key in (key for key in KINDS if key in combination):
            where = _where(number, key, axes)
            described[key] = looker.part(key, combination[key])
        where = _where(number, "model", axes)
        found = looker.model(described, info) if info else None
    except WrongBeside as error:
        raise UserError(f"{file}: {key_path(('runs', number))}.{error}") from None
    except UserError as error:
        raise type(error)(f"{file}: {where}: {error}") from None
    described, reason = found or (described, None)
    spec = _parse_run(described, axes, file, number)
    return spec, reason or spec.skip_reason(info) or looker.skip_reason(spec, info)


def read_study(path: Path) -> Study:
    """Read and validate a config file without expanding it. Raises UserError."""
    return _parse_study(read_yaml(path), str(path))


def load(path: Path, execute: bool = True) -> Expansion:
    """Read, validate and expand a config file, see `expand`. Raises UserError."""
    expansion = expand(read_yaml(path), str(path), execute)
    mirror = expansion.study.data_mirror
    # checked here and not in `expand`, which also runs on compute nodes that need not see the mirror
    if mirror and "://" not in mirror and not Path(mirror).is_dir():
        raise UserError(f"{path}: data_mirror: {mirror}: no such folder; correct or remove it")
    return expansion


def _add(runs: dict[str, Run], spec: Run, source: str) -> None:
    other = runs.setdefault(spec.id, spec)
    if other.training_spec() != spec.training_spec():
        raise UserError(f"{source}: two different runs share the id {spec.id}; change any hyperparameter of one of them")
    if other != spec:
        raise UserError(
            f"{source}: run {spec.id} would be measured in two ways, with evaluation {other.evaluation} and {spec.evaluation}; "
            "a study has one way for each run: put the other into a study of its own, which trains nothing again"
        )


def _combinations(block: dict[str, Any], source: str, number: int):
    """Yield (combination, axes); `axes` gives for each key with a list the index of the element that was taken."""
    axes = {key: value for key, value in block.items() if isinstance(value, list)}
    for key, values in axes.items():
        if not values:
            raise UserError(f"{source}: {key_path(('runs', number, key))}: found []; an empty list names no run")
    for indices in itertools.product(*(range(len(values)) for values in axes.values())):
        taken = dict(zip(axes, indices, strict=True))
        yield {key: axes[key][taken[key]] if key in taken else value for key, value in block.items()}, taken


def _where(number: int, key: str, axes: dict[str, int]) -> str:
    return key_path(("runs", number, key, axes[key]) if key in axes else ("runs", number, key))


def _parse_run(combination: dict[str, Any], axes: dict[str, int], source: str, number: int) -> Run:
    model = combination.get("model", "vae")
    system = OwnModel if "sha256" in combination else MODELS.get(model) if isinstance(model, str) else None
    if system is None:
        raise UserError(
            f"{source}: {_where(number, 'model', axes)}: unknown model {model!r}{did_you_mean(model, MODELS)}, or {{path: my_model.py}}"
        )
    try:
        return parse_run({"model": model, **combination})
    except ValidationError as error:
        text = explain(error, [system], ("runs", number))
        # name the element of the list that is wrong, not the whole list
        for key in axes:
            plain = key_path(("runs", number, key))
            if text.startswith((f"{plain}:", f"{plain}.")):
                text = _where(number, key, axes) + text.removeprefix(plain)
        raise UserError(f"{source}: {text}") from None
