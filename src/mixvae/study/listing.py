"""This file gives the content of study.json."""

import json

from mixvae.study.config import Expansion
from mixvae.study.own_data import without_source


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
