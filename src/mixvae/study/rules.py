"""Rule study writes study.json, the list of a study's runs and data sets, for the rules that work on the whole study."""

import json
from pathlib import Path

from mixvae.files import atomic
from mixvae.provenance import record
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


def list_study(folder: Path, content: str) -> None:
    """Write study.json, whose content `listing` gives, into the folder results/<study>."""
    path = folder / "study.json"
    with record("study", folder / "provenance/study.json", inputs=[], outputs=[path]), atomic(path) as temporary:
        temporary.write_text(content)
