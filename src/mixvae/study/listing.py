"""What a study consists of, as text: for study.json, and for whoever checks a config."""

from __future__ import annotations

import json
from collections.abc import Iterator

from mixvae.study.config import Expansion
from mixvae.study.own_data import without_source

AXES = ("dataset", "model", "K", "prior", "flow", "likelihood", "latent", "seed")
"""Keys by which a combination that was left out is told from others."""


def listing(expansion: Expansion) -> str:
    """Return the content of results/<study>/study.json: what the study consists of, for the rules that look at it as a whole.

    Where the user's own files lie is not in it: moving one makes no new tables.
    """
    skipped = [{"combination": json.dumps(combination), "reason": reason} for combination, reason in expansion.skipped]
    runs = {run: spec.model_dump(mode="json") for run, spec in expansion.runs.items()}
    datasets = {
        name: json.loads(without_source(info)) if name in expansion.own else info.model_dump(mode="json")
        for name, info in expansion.datasets.items()
    }
    return json.dumps({"study": expansion.study.study, "runs": runs, "skipped": skipped, "datasets": datasets}, indent=1)


def describe(expansion: Expansion) -> str:
    """Return one line that counts what a study holds."""
    controls = sum(spec.is_control for spec in expansion.runs.values())
    models = len(expansion.runs) - controls
    names = ", ".join(expansion.datasets)
    return f"study {expansion.study.study}: {models} runs and {controls} controls on {names}; {len(expansion.skipped)} skipped"


def overview(expansion: Expansion) -> Iterator[str]:
    """Yield a line for every run and for every combination that was left out."""
    yield from expansion.runs
    for combination, reason in expansion.skipped:
        yield f"skipped: {', '.join(f'{key}={value}' for key, value in combination.items() if key in AXES)}: {reason}"
