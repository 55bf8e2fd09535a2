"""This file describes parts of a user's own file as data, so that nobody who reads a spec executes the file."""

from __future__ import annotations

import re
from operator import attrgetter
from typing import Annotated, Any, ClassVar, get_args, get_origin, get_type_hints

from pydantic import Field, SerializationInfo, SerializerFunctionWrapHandler, create_model, model_serializer

from mixvae.study.base import Frozen, from_list
from mixvae.study.kinds import DecoderSettings, EncoderSettings, FlowSettings, LikelihoodSettings, PartSettings, PriorSettings

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
"""The name of an own part in ids and tables, which is its file's without the ending."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def kept_as(name: str, sha256: str) -> str:
    """Return the name of the copy of a part's file that a run keeps in its folder."""
    return f"{name}-{sha256[:8]}.py"


class OwnPart(Frozen):
    """A part of a user's own file: its name, the file's sha256, its settings spelt out, and the facts of its kind.

    Settings and facts are what the file says when it is executed, which `mixvae.study.looking` does once.
    """

    name: Name
    sha256: Sha256
    settings: dict[str, Any] = Field({})
    facts: Frozen

    @model_serializer(mode="wrap")
    def _for_comparing(self, serialise: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Return name, digest and settings side by side where settings are compared: facts follow from these."""
        return {"name": self.name, "sha256": self.sha256[:8], **self.settings} if info.context else serialise(self)


def facts_of(kind: type[PartSettings]) -> dict[str, Any]:
    """Return the names and types of the facts that settings of a kind state as class attributes."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: get_args(hint)[0] for name, hint in hints.items() if get_origin(hint) is ClassVar and name not in NO_FACTS}


NO_FACTS = {"later", "model_config"} | {name for name in dir(Frozen) if name.startswith("_")}


def _own(kind: type[PartSettings], title: str) -> type[Any]:
    """Return the class of own parts of a kind, which has the kind's facts as attributes."""
    types = facts_of(kind)
    fields = {name: (Annotated[type_, from_list], getattr(kind, name, ...)) for name, type_ in types.items()}
    facts = create_model(f"{title}Facts", __base__=Frozen, **fields)
    facts.later = tuple(name for name in types if hasattr(kind, name))  # a fact that is added later changes no id
    own = create_model(title, __base__=(OwnPart, kind), facts=(facts, ...))
    for name in types:
        setattr(own, name, property(attrgetter(f"facts.{name}")))
    return own


class OwnPrior(_own(PriorSettings, "OwnPrior")):
    """A prior of a user's own file."""

    @property
    def components(self) -> int:
        """How many components it asks for; only a prior with pseudo-inputs must say it."""
        return self.settings.get("components", 1)


OwnFlow = _own(FlowSettings, "OwnFlow")
OwnEncoder = _own(EncoderSettings, "OwnEncoder")
OwnDecoder = _own(DecoderSettings, "OwnDecoder")


class OwnLikelihood(_own(LikelihoodSettings, "OwnLikelihood")):
    """A likelihood of a user's own file; it has a control if one output for all points can be fitted in closed form."""

    @property
    def of_control(self) -> OwnLikelihood | None:
        return self if self.has_constant else None
