"""This file reads the specs of runs from mappings and from JSON."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Union

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from mixvae.errors import UserError
from mixvae.study.explain import explain
from mixvae.study.run import MODELS, Run
from mixvae.study.systems import OwnModel


@cache
def _adapter(systems: tuple[type[Run], ...]) -> TypeAdapter:
    return TypeAdapter(Annotated[Union[systems], Field(discriminator="model")])  # noqa: UP007, of a tuple


def parse_run(value: dict[str, Any]) -> Run:
    """Validate one run's mapping; raises pydantic.ValidationError."""
    if isinstance(value, dict) and "sha256" in value:
        return OwnModel.model_validate(value)
    return _adapter(tuple(MODELS.values())).validate_python(value)


def parse_run_json(text: str) -> Run:
    """Validate one run's JSON, as written by `canonical`; raises ValueError, of which pydantic.ValidationError is one."""
    return parse_run(from_json(text))


def read_spec(text: str, source: str) -> Run:
    """Parse a run's JSON; raises UserError naming `source` and what is wrong."""
    with _one_line(source):
        return parse_run_json(text)


def run_spec(folder: Path, settings: str) -> Run:
    """Read `spec.json` of a run's folder, and how to measure the run as JSON; raises UserError."""
    path = folder / "spec.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file; train the run first")
    spec = read_spec(path.read_text(), str(path))
    with _one_line("--settings"):
        return spec.measured_by(from_json(settings))


def run_to_measure(parser: ArgumentParser, gpu: bool = True) -> tuple[Run, Namespace]:
    """Parse the arguments of a rule that measures a run, with --gpu or without, and read the run by them; raises UserError."""
    parser.add_argument("--run", required=True, type=Path, help="the run's folder, with its trained model")
    parser.add_argument("--data", required=True, type=Path, help="results/datasets/<dataset>")
    parser.add_argument("--settings", default="{}", help="settings of `evaluation` as one JSON text")
    if gpu:
        parser.add_argument("--gpu", type=int, default=0, choices=[0, 1], help="1: compute on a GPU")
    arguments = parser.parse_args()
    return run_spec(arguments.run, arguments.settings), arguments


@contextmanager
def _one_line(source: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        raise UserError(f"{source}: {explain(error, list(MODELS.values()))}") from None
    except ValueError as error:
        raise UserError(f"{source}: not JSON ({error})") from None
