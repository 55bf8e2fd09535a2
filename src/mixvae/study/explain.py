"""This file turns pydantic's validation error into one line: key path, value found, what was expected, nearest valid name."""

import re
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from mixvae.errors import did_you_mean


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    """Return the names that a model goes by: the literals of its field `model` or `name`."""
    field = model.model_fields.get("model") or model.model_fields.get("name")
    return get_args(field.annotation) if field else ()


def _walk(models: list[type[BaseModel]], location: Iterable[Any]) -> tuple[list[Any], list[type[BaseModel]]]:
    """Return the key path without union tags, and the models that could stand where its last key was written."""
    path: list[Any] = []
    here = level = models
    for part in location:
        tagged = [model for model in here if part in _tags(model)]
        if tagged and not any(part in model.model_fields for model in here):
            here = tagged
            continue
        level = here
        path.append(part)
        here = [m for model in here if part in model.model_fields for m in _models_in(model.model_fields[part].annotation)]
    return path, level


def key_path(parts: Iterable[Any]) -> str:
    """Write ``("runs", 0, "K")`` as ``runs[0].K``."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _quoted(text: str) -> list[str]:
    return re.findall(r"'([^']+)'", text) or text.split(" or ")


def explain(error: ValidationError, models: list[type[BaseModel]], prefix: tuple[Any, ...] = ()) -> str:
    """Return one line with the first problem of a value, validated as one of `models`, and the number of further ones.

    `prefix` is the key path of that value in the file.
    """
    # name a missing key before an unknown key, which often is the missing one misspelt
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    path, level = _walk(models, first["loc"])
    where = key_path((*prefix, *path))
    found, context = first["input"], first.get("ctx", {})
    match first["type"]:
        case "extra_forbidden":
            valid = {name for model in level for name in model.model_fields}
            unknown = f"unknown key {path[-1]!r}{did_you_mean(path[-1], sorted(valid))}"
            text = f"{where}: {'only other models have this key' if path[-1] in valid else unknown}"
        case "missing":
            text = f"{where}: this key is required"
        case "union_tag_invalid":
            key = context["discriminator"].strip("'")
            tag, valid = found.get(key), _quoted(context["expected_tags"])
            where = where if key == "name" else key_path((*prefix, *path, key))
            text = f"{where}: unknown {path[-1] if path else key} {tag!r}{did_you_mean(tag, valid)}"
        case "union_tag_not_found":
            text = f"{where}: {_short(found)} has no {context['discriminator']}"
        case "literal_error":
            text = f"{where}: unknown value {_short(found)}{did_you_mean(found, _quoted(context['expected']))}"
        case "value_error":
            text = f"{where}: {context['error']}"
            text += f"; found {_short(found)}" if isinstance(found, str | int | float) else ""
        case _:
            # pydantic's message in the words of YAML
            message = first["msg"][0].lower() + first["msg"][1:]
            message = re.sub("a valid (dictionary|object).*", "a mapping", re.sub("a valid (tuple|array).*", "a list", message))
            text = f"{where}: found {_short(found)}; {message}"
    more = error.error_count() - 1
    return text.removeprefix(": ") + (f" (and {more} more)" if more else "")
