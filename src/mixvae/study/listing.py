"""This file describes a study as text: for study.json, and for a user who checks a config."""

import json
from collections.abc import Iterator

from mixvae.study.config import Expansion
from mixvae.study.own_data import without_source

AXES = ("dataset", "model", "K", "prior", "flow", "likelihood", "latent", "seed")
"""The keys that are shown of a combination that was left out."""


def listing(expansion: Expansion) -> str:
    """Return the content of results/<study>/study.json: the study's runs, data sets and skipped combinations.

    It does not say where users' own files lie, so that moving one does not make the tables again.
    """
    skipped = [{"combination": json.dumps(combination), "reason": reason} for combination, reason in expansion.skipped]
    runs = {run: spec.model_dump(mode="json") for run, spec in expansion.runs.items()}
    datasets = {
        name: json.loads(without_source(info)) if name in expansion.own else info.model_dump(mode="json")
        for name, info in expansion.datasets.items()
    }
    return json.dumps({"study": expansion.study.study, "runs": runs, "skipped": skipped, "datasets": datasets}, indent=1)


def describe(expansion: Expansion) -> str:
    """Return one line with the numbers of runs, controls and skipped combinations, and the data sets."""
    controls = sum(spec.is_control for spec in expansion.runs.values())
    models = len(expansion.runs) - controls
    names = ", ".join(expansion.datasets)
    return f"study {expansion.study.study}: {models} runs and {controls} controls on {names}; {len(expansion.skipped)} skipped"


def overview(expansion: Expansion) -> Iterator[str]:
    """Yield a line for every run and for every skipped combination."""
    yield from expansion.runs
    for combination, reason in expansion.skipped:
        yield f"skipped: {', '.join(f'{key}={value}' for key, value in combination.items() if key in AXES)}: {reason}"
