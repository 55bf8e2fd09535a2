"""Answers what the expansion of a config must know of a user's own part, by executing its file in a process of its own."""

import contextlib
import json
import sys
from collections.abc import Iterable
from typing import IO, Any, get_args

from pydantic import ValidationError

from mixvae import own
from mixvae.errors import UserError
from mixvae.study import DatasetInfo, parse_run
from mixvae.study.explain import explain
from mixvae.study.kinds import (
    DecoderSettings,
    EncoderSettings,
    FlowSettings,
    LikelihoodSettings,
    NetworkSettings,
    PartSettings,
    PriorSettings,
)
from mixvae.study.own_parts import facts_of
from mixvae.study.run import Run
from mixvae.study.systems import OwnModel, OwnModelFacts

KINDS: dict[str, tuple[type, ...]] = {
    "model": (Run,),
    "prior": (PriorSettings,),
    "flow": (FlowSettings,),
    "encoder": (EncoderSettings, NetworkSettings),
    "decoder": (DecoderSettings, NetworkSettings),
    "likelihood": (LikelihoodSettings,),
}
"""For each key of a config that may name a file, the classes of which the file's settings must be one, the usual one first."""


def serve(questions: Iterable[str], answers: IO[str]) -> None:
    """Answer questions, each a line of JSON, until there are no more; what the file prints goes to stderr."""
    for line in questions:
        with contextlib.redirect_stdout(sys.stderr):
            found = answer(json.loads(line))
        answers.write(json.dumps(found) + "\n")
        answers.flush()


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a question of `mixvae.study.looking`, or {"error": what is wrong, in one line}."""
    try:
        settings = _settings_class(question)
        if question["ask"] == "skip":
            part = settings.model_validate(question["settings"])
            reason = part.skip_reason(parse_run(question["run"]), DatasetInfo.model_validate(question["dataset"]))
            return {"skip": _text(reason, question)}
        return _model(settings, question) if question["kind"] == "model" else _part(settings, question)
    except ValidationError as error:
        return {"error": f"{question['file']}: {explain(error, [settings])}"}
    except UserError as error:
        return {"error": str(error)}
    except Exception as error:
        if (text := own.blame(error)) is None:
            raise
        return {"error": text}


def _settings_class(question: dict[str, Any]) -> type[Any]:
    """Return the file's settings class; raises UserError for one of another kind of part."""
    settings = getattr(own.load(question["sha256"], question["name"]), own.SETTINGS)
    if not issubclass(settings, KINDS[question["kind"]]):
        found = [kind for kind, classes in KINDS.items() if issubclass(settings, classes)]
        says = f"they are those of a {' or '.join(found)}" if found else "they are of no kind of part"
        wanted = KINDS[question["kind"]][0].__name__
        wanted = "a class of mixvae.study.systems" if question["kind"] == "model" else f"mixvae.study.kinds.{wanted}"
        raise UserError(f"{question['file']}: Settings of a {question['kind']} derive from {wanted}; {says}")
    return settings


def _part(settings: type[PartSettings], question: dict[str, Any]) -> dict[str, Any]:
    part = settings.model_validate(question["settings"])
    kind = KINDS[question["kind"]][0]
    missing = [name for name in facts_of(kind) if not hasattr(part, name)]
    if missing:
        raise UserError(f"{question['file']}: Settings do not say {', '.join(missing)}; see mixvae.study.kinds.{kind.__name__}")
    decides = settings.skip_reason is not PartSettings.skip_reason
    facts = {name: getattr(part, name) for name in facts_of(kind)}
    return {"settings": part.model_dump(mode="json"), "facts": facts, "decides": decides}


def _model(settings: type[Run], question: dict[str, Any]) -> dict[str, Any]:
    """Return the settings and facts of a run of an own model, and why it is skipped, if it is."""
    clash = question["settings"].keys() & OwnModel.model_fields.keys()
    if clash:
        raise UserError(f"{question['file']}: {min(clash)} stands beside model, not within it: it is a setting of every model")
    (name,) = get_args(settings.model_fields["model"].annotation)
    spec = settings.model_validate(question["run"] | question["settings"] | {"model": name})
    dataset = DatasetInfo.model_validate(question["dataset"])
    every = spec.model_dump(mode="json")
    common = {field: value for field, value in every.items() if field in OwnModel.model_fields and field != "model"}
    own_settings = {field: value for field, value in every.items() if field not in OwnModel.model_fields}
    metrics = getattr(settings, "metrics", {})
    facts = {fact: getattr(spec, fact) for fact in OwnModelFacts.model_fields.keys() - {"judged", "metrics"}}
    facts |= {"judged": spec.judged_by(dataset), "metrics": metrics}
    skip = _text(spec.skip_reason(dataset), question)
    return {"run": common, "settings": own_settings, "facts": facts, "skip": skip}


def _text(reason: object, question: dict[str, Any]) -> str | None:
    if reason is not None and not isinstance(reason, str):
        raise UserError(f"{question['file']}: skip_reason gave {reason!r}; expected a text, or None where it fits")
    return reason
