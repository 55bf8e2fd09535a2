"""Names the columns of a study's tables, briefly but never alike for two different settings."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from mixvae.summary.results import StudyRuns

APART = {"K", "seed", "model", "prior.name", "flow.name", "encoder.name", "decoder.name", "lower.name"}
"""Options that are never in a column's bracket by themselves: those that its name starts with, the networks, which have one text
together, and K and seed, which vary within a column."""
PROCEDURE = ("training.", "evaluation.", "threads")
"""Options that say how a model was trained: named only where nothing else tells two settings apart, except training.samples,
which says what was trained: the bound."""

Flat = dict[str, Any]


def flat(value: Any, prefix: str = "") -> Flat:
    """Return nested mappings as one, its keys joined by dots; lists stay whole."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {
        name: leaf for key, part in value.items() for name, leaf in flat(part, f"{prefix}.{key}" if prefix else key).items()
    }


def column_names(study: StudyRuns, dataset: str) -> dict[str, str]:
    """Return the name of the table column of every run on `dataset`, without the controls.

    A name is the model if there are several, prior+flow, and in brackets whatever else tells runs with these apart. Runs that
    differ in more than K and seed never share a name.
    """
    specs = {run: flat(spec.spelt_out()) for run, spec in study.runs.items() if spec.dataset == dataset and not spec.is_control}
    several = len({spec["model"] for spec in specs.values()}) > 1
    likelihoods = {spec["likelihood.name"] for spec in specs.values()}
    groups: dict[tuple[str, ...], dict[str, Flat]] = defaultdict(dict)
    networks: dict[str, set[str]] = defaultdict(set)
    for run, spec in specs.items():
        groups[spec["model"], spec["prior.name"], spec["flow.name"]][run] = spec | _networks(spec)
        networks[spec["model"]].update(_networks(spec).values())
    names = {}
    for (model, prior, _), runs in groups.items():
        variants = _variants(runs)
        for run, spec in runs.items():
            # named for all columns of a model or for none, so that a bare name does not hide a PixelCNN
            texts = {"networks": spec["networks"]} if len(networks[model]) > 1 else {}
            # densities and probabilities do not compare, so no column leaves open which it is
            texts |= {"likelihood.name": spec["likelihood.name"]} if len(likelihoods) > 1 else {}
            texts |= variants[run]
            components = texts.pop("prior.components", None)
            head = study.runs[run].called(f"{prior}({components})" if components else prior, several)
            variant = ", ".join(dict.fromkeys(texts.values()))
            names[run] = f"{head} ({variant})" if variant else head
    return {run: names[run] for run in specs}


def _variants(runs: dict[str, Flat]) -> dict[str, dict[str, str]]:
    """Return for every run of a group {key: text} of the options in which the group's runs differ."""
    shown: dict[str, dict[str, str]] = {run: {} for run in runs}
    for key in _differing(runs):
        if key.startswith(PROCEDURE) and key != "training.samples" and not _splits(key, runs, shown):
            continue
        comparable: dict[Any, list[str]] = defaultdict(list)
        for run, spec in runs.items():
            if key in spec:
                comparable[_part(spec, key)].append(run)
        apart = (members for members in comparable.values() if len({repr(runs[run][key]) for run in members}) > 1)
        telling = {run: runs[run][key] for members in apart for run in members}
        texts = _texts(key, telling.values())
        for run, value in telling.items():
            shown[run][key] = texts[repr(value)]
    _join_widths(shown.values())
    return shown


def _differing(runs: dict[str, Flat]) -> list[str]:
    """Return the keys in which runs differ: networks and likelihood first, then other options, and the procedure last."""
    keys = {key for spec in runs.values() for key in spec} - APART
    varying = [key for key in keys if len({repr(spec[key]) for spec in runs.values() if key in spec}) > 1]
    last = ("training.samples", "training.epochs", "training.points", "training.", "evaluation.", "threads")
    ranks = {key: next((n for n, start in enumerate(last, start=2) if key.startswith(start)), 1) for key in varying}
    return sorted(varying, key=lambda key: (0 if key in ("networks", "likelihood.name") else ranks[key], key))


def _networks(spec: Flat) -> dict[str, str]:
    if "encoder.name" not in spec:
        return {}
    lower = spec.get("lower.name", spec["encoder.name"])
    encoders = spec["encoder.name"] if lower == spec["encoder.name"] else f"{spec['encoder.name']}+{lower}"
    return {"networks": f"{encoders}/{spec['decoder.name']}"}


def _part(spec: Flat, key: str) -> Any:
    """Return the name of the part that a key belongs to: widths of dense layers do not compare with those of convolutions."""
    name = f"{key.split('.')[0]}.name"
    return spec.get(name) if name != key else None


def _splits(key: str, runs: dict[str, Flat], shown: dict[str, dict[str, str]]) -> bool:
    """Return whether a key tells apart runs that the texts shown so far do not."""
    values = {(repr(shown[run]), repr(spec.get(key))) for run, spec in runs.items()}
    return len(values) > len({texts for texts, _ in values})


def _join_widths(shown: Collection[dict[str, str]]) -> None:
    """Give the widths only once, as "hidden", if within every run all networks have the same widths."""
    widths = [{key: text.split(" ", 1)[-1] for key, text in texts.items() if key.endswith(".hidden")} for texts in shown]
    if all(len(set(found.values())) <= 1 for found in widths) and max(map(len, widths), default=0) > 1:
        for texts, found in zip(shown, widths, strict=True):
            texts.update({key: f"hidden {text}" for key, text in found.items()})


def _texts(key: str, values: Collection[Any]) -> dict[str, str]:
    """Return the text of every value of a key by its repr, short unless two would be the same."""
    short = {repr(value): _short(value) for value in values}
    if len(set(short.values())) < len(short):
        short = {repr(value): json.dumps(value, separators=(",", ":")) for value in values}
    return {value: _labelled(key, text) for value, text in short.items()}


def _labelled(key: str, text: str) -> str:
    if key in ("networks", "likelihood.name", "prior.components"):
        return text
    if key == "training.samples":
        return f"L={text}" if text == "1" else f"IWAE L={text}"
    if key.endswith(".hidden"):
        return f"{key.removesuffix('.hidden').replace('.', ' ')} {text}"
    special = {"training.points": "training points", "evaluation.points": "test points"}
    return f"{special.get(key, key.removeprefix('training.').replace('.', ' '))}={text}"


def _short(value: Any) -> str:
    if value is None:
        return "all"
    if isinstance(value, float):
        return f"{value:g}"
    if not isinstance(value, list):
        return str(value)
    numbers = [str(item[0] if isinstance(item, list) else item) for item in value]  # convolutions by their channels
    return f"{len(numbers)}x{numbers[0]}" if len(numbers) > 1 and len(set(numbers)) == 1 else "-".join(numbers)
