"""Computes the content of a study's metrics and tables from its runs; rule tabulate writes it, the audit compares with it."""

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from mixvae.study import outputs
from mixvae.summary import rendering, results
from mixvae.summary.cells import Sources
from mixvae.summary.results import StudyRuns
from mixvae.summary.tables import TABLES

Content = dict[str, pd.DataFrame | str]
"""By file name relative to the study's folder, the frame of a .csv or .parquet, or the text of any other file."""


def content(study: StudyRuns, runs: Path, missing: Collection[str], published: list[dict[str, str]]) -> Content:
    """Return all that rule tabulate writes but failures.csv; the arguments are those of `Sources`.

    Raises UserError for a result file that cannot be read.
    """
    metrics = results.tidy(study, runs, set(missing))
    skipped = pd.DataFrame(study.skipped, columns=["combination", "reason"])
    made: Content = {"metrics.parquet": metrics, "metrics.csv": metrics, "skipped.csv": skipped}
    sources = {name: Sources(study, name, metrics, runs, set(missing), published) for name in study.datasets}
    for name in outputs.tables(study.runs.values(), study.datasets):
        kind, _, dataset = name.partition("_")
        table = TABLES[kind]
        frame = table.make(sources[dataset])
        page = f"{dataset}: {table.title}", table.grids(frame), table.note(frame, sources[dataset])
        made[f"tables/{name}.csv"] = frame
        made[f"tables/{name}.md"] = rendering.markdown(*page)
        made[f"tables/{name}.tex"] = rendering.latex(*page)
    return made
