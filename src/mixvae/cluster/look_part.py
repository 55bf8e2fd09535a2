"""Answers what the expansion of a config must know of a user's own part, by executing its file in a process of its own."""

import contextlib
import json
import sys
from collections.abc import Iterable
from typing import IO, Any, get_args

from pydantic import ValidationError

from mixvae import own
from mixvae.errors import UserError, did_you_mean
from mixvae.study import DatasetInfo, parse_run
from mixvae.study.explain import explain
from mixvae.study.kinds import SETTINGS, PartSettings
from mixvae.study.metrics import METRICS
from mixvae.study.own_parts import facts_of
from mixvae.study.run import Run
from mixvae.study.systems import OwnMetric, OwnModel, OwnModelFacts

KINDS: dict[str, type] = {"model": Run, **SETTINGS}
"""For each kind of part, the class that the settings of a file of this kind derive from."""


def serve(questions: Iterable[str], answers: IO[str]) -> None:
    """Answer questions, each a line of JSON, until there are no more; what the file prints goes to stderr."""
    for line in questions:
        with contextlib.redirect_stdout(sys.stderr):
            found = answer(json.loads(line))
        answers.write(json.dumps(found) + "\n")
        answers.flush()


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a question of `mixvae.study.looking`, or {"error": what is wrong, in one line}.

    With "beside": true what is wrong is not in the file but in the run around it, and the line begins with its key.
    """
    try:
        settings = _settings_class(question)
        _check_names(settings, question)
        if question["ask"] == "skip":
            part = own.read(settings, question["settings"])
            reason = part.skip_reason(parse_run(question["run"]), DatasetInfo.model_validate(question["dataset"]))
            return {"skip": _text(reason, question)}
        return _model(settings, question) if question["kind"] == "model" else _part(settings, question)
    except ValidationError as error:
        first = error.errors()[0]
        text = explain(error, [settings])
        if first["loc"] and first["loc"][0] in question.get("run", {}):
            return {"error": text, "beside": True}
        hint = "; a setting has one value, so name the part once for each" if isinstance(first["input"], list) else ""
        return {"error": f"{question['file']}: {text}{hint}"}
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
        found = [kind for kind, base in KINDS.items() if issubclass(settings, base)]
        says = f"they are of kind {found[0]}" if found else "they are of no kind of part"
        wanted = KINDS[question["kind"]].__name__
        wanted = "a class of mixvae.study.systems" if question["kind"] == "model" else f"mixvae.study.kinds.{wanted}"
        raise UserError(f"{question['file']}: as {question['kind']}, its Settings must derive from {wanted}; {says}")
    return settings


def _check_names(settings: type[Any], question: dict[str, Any]) -> None:
    """Raise UserError for a setting that the file does not have, or that stands in the wrong place."""
    others = Run.model_fields.keys() | OwnModel.model_fields.keys() | {"name"}
    valid = [name for name in settings.model_fields if question["kind"] != "model" or name not in others]
    for name in question["settings"]:
        where = f"{question['file']}: {name}"
        if question["kind"] == "model" and name in OwnModel.model_fields:
            raise UserError(f"{where} stands beside model, and not beside path: it is a setting of every model")
        if name not in settings.model_fields:
            raise UserError(f"{where}: unknown setting of the part{did_you_mean(name, valid)}")


def _part(settings: type[PartSettings], question: dict[str, Any]) -> dict[str, Any]:
    part = own.read(settings, question["settings"])
    kind = KINDS[question["kind"]]
    missing = [name for name in facts_of(kind) if not hasattr(part, name)]
    if missing:
        raise UserError(f"{question['file']}: Settings do not say {', '.join(missing)}; see mixvae.study.kinds.{kind.__name__}")
    decides = settings.skip_reason is not PartSettings.skip_reason
    said = {"settings": part.model_dump(mode="json"), "facts": {name: getattr(part, name) for name in facts_of(kind)}}
    return {"part": {"name": question["name"], "sha256": question["sha256"]} | said, "decides": decides}


def _model(settings: type[Run], question: dict[str, Any]) -> dict[str, Any]:
    """Return a run of an own model as data, and why it is skipped, if it is."""
    (name,) = get_args(settings.model_fields["model"].annotation)
    spec = own.read(settings, question["run"] | question["settings"] | {"model": name})
    dataset = DatasetInfo.model_validate(question["dataset"])
    every = spec.model_dump(mode="json")
    common = {field: value for field, value in every.items() if field in OwnModel.model_fields and field != "model"}
    own_settings = {field: value for field, value in every.items() if field not in OwnModel.model_fields}
    extra = sorted(spec.extra_metrics(dataset.kind))
    facts = {fact: getattr(spec, fact) for fact in OwnModelFacts.model_fields.keys() - {"judged", "extra", "metrics"}}
    facts |= {"judged": spec.judged_by(dataset), "extra": extra, "metrics": _own_metrics(settings, extra, question)}
    model = {"model": question["name"], "sha256": question["sha256"], "settings": own_settings, "facts": facts}
    return {"part": common | model, "skip": _text(spec.skip_reason(dataset), question)}


def _own_metrics(settings: type[Run], extra: list[str], question: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the metrics of its own that a model describes. Raises UserError for one that is not described, or is not new."""
    described = getattr(settings, "metrics", {})
    where = f"{question['file']}: metric"
    if known := sorted(described.keys() & METRICS.keys()):
        raise UserError(f"{where} {known[0]}: other systems have a metric of this name; rename it")
    if missing := [name for name in extra if name not in METRICS and name not in described]:
        raise UserError(f"{where} {missing[0]}: extra_metrics names it, but Settings.metrics does not describe it")
    return {name: OwnMetric.model_validate(described[name]).model_dump() for name in extra if name in described}


def _text(reason: object, question: dict[str, Any]) -> str | None:
    if reason is not None and not isinstance(reason, str):
        raise UserError(f"{question['file']}: skip_reason gave {reason!r}; expected a text, or None where it fits")
    return reason
