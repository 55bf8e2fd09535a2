"""`Frozen` is the base class of everything that a config describes; the types of numbers in a config are here too."""

import re
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
)

_SCIENTIFIC = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


class Frozen(BaseModel):
    """A configuration object is immutable; it refuses unknown keys, and strings in place of numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    later: ClassVar[tuple[str, ...]] = ()
    """Options added after the first results; at its default such an option is left out of the canonical JSON, so ids stay."""

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, serialise: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        fields = type(self).model_fields
        unset = set() if info.context else {name for name in self.later if getattr(self, name) == fields[name].default}
        return {name: value for name, value in serialise(self).items() if name not in unset}

    def arguments(self) -> dict[str, Any]:
        """Return all settings but the name, as keyword arguments of the class that they describe."""
        return {name: getattr(self, name) for name in type(self).model_fields if name != "name"}

    def spelt_out(self) -> dict[str, Any]:
        """Return every option with its value as JSON types, those of `later` too: for comparing settings, not for ids."""
        return self.model_dump(mode="json", context={"later": True})


def _number(value: Any) -> Any:
    # YAML 1.1 reads 1e-3, which has no dot, as a string, and everybody writes learning rates that way
    return float(value) if isinstance(value, str) and _SCIENTIFIC.fullmatch(value) else value


Real = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
"""A finite float that may be written 1e-3."""

PositiveReal = Annotated[Real, Field(gt=0)]
from_list = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
"""YAML has lists where a config has tuples."""
Sizes = Annotated[tuple[Annotated[int, Field(gt=0)], ...], from_list]
"""Positive integers as a YAML list, such as the widths of layers or the shape of a point."""


def named(value: Any) -> Any:
    """Read the shorthand ``vamp`` as ``{name: vamp}``. Raises ValueError for an own part, which is read where one may stand."""
    if isinstance(value, dict) and "sha256" in value:
        raise ValueError(f"the own part {value['name']} cannot stand here: this model has a part of its own")
    return {"name": value} if isinstance(value, str) else value
