"""The content of a study's metrics and tables, made from the results of its runs: what is written, and what an audit compares with."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from mixvae.study import outputs
from mixvae.summary import comparisons, ranking, rendering, results, tables
from mixvae.summary import published as comparison
from mixvae.summary.results import StudyRuns

Content = dict[str, pd.DataFrame | str]
"""By file name relative to the study's folder, the numbers of a .csv or .parquet or the text of anything else."""


def names(study: StudyRuns) -> list[str]:
    """Return the files that `content` makes for a study, and failures.csv."""
    made = outputs.tables(study.runs.values(), study.datasets)
    files = ["metrics.parquet", "metrics.csv", "skipped.csv", "failures.csv"]
    return files + [f"tables/{table}{end}" for table in made for end in (".csv", ".md", ".tex")]


def content(study: StudyRuns, runs: Path, missing: Collection[str], published: list[dict[str, str]]) -> Content:
    """Return all that rule tabulate writes but failures.csv.

    Arguments:
        runs: The folder of all runs.
        missing: Runs that are not complete.
        published: From `published.read`.

    Raises UserError for a result file that cannot be read.
    """
    metrics = results.tidy(study, runs, set(missing))
    made: Content = {
        "metrics.parquet": metrics,
        "metrics.csv": metrics,
        "skipped.csv": pd.DataFrame(study.skipped, columns=["combination", "reason"]),
    }
    for table in outputs.tables(study.runs.values(), study.datasets):
        kind, dataset = table.split("_", 1)
        if kind in ("comparisons", "ranking"):
            made |= _rows(f"tables/{table}", kind, study, metrics, runs, set(missing), dataset)
        elif kind == "published":
            made |= _comparison(f"tables/{table}", study, metrics, dataset, published)
        else:
            made |= _cells(f"tables/{table}", kind, study, metrics, runs, set(missing), dataset)
    return made


def _cells(
    stem: str, kind: str, study: StudyRuns, metrics: pd.DataFrame, runs: Path, missing: set[str], dataset: str
) -> Content:
    """Return a table whose rows are metrics and K."""
    if kind == "ablation":
        frame = tables.likelihood_table(study, metrics, runs, missing, dataset)
    else:
        make = {
            "latent": tables.latent_table,
            "reconstruction": tables.reconstruction_table,
            "components": tables.components_table,
            "density": tables.density_table,
        }[kind]
        frame = make(study, metrics, dataset)
    return {
        f"{stem}.csv": tables.wide(frame),
        f"{stem}.md": rendering.markdown(frame, kind, dataset),
        f"{stem}.tex": rendering.latex(frame, kind, dataset),
    }


def _rows(
    stem: str, kind: str, study: StudyRuns, metrics: pd.DataFrame, runs: Path, missing: set[str], dataset: str
) -> Content:
    """Return a table that is made from the values of the test points and has a row per number."""
    make, module = {"comparisons": (comparisons.compare, comparisons), "ranking": (ranking.rank, ranking)}[kind]
    frame = make(study, metrics, runs, missing, dataset)
    return {
        f"{stem}.csv": frame[module.COLUMNS],
        f"{stem}.md": module.markdown(frame, dataset),
        f"{stem}.tex": module.latex(frame, dataset),
    }


def _comparison(stem: str, study: StudyRuns, metrics: pd.DataFrame, dataset: str, published: list[dict[str, str]]) -> Content:
    """Return the table of what was published beside what we found."""
    frame, info = comparison.compare(study, metrics, dataset, published), study.datasets[dataset]
    return {
        f"{stem}.csv": comparison.numbers(frame),
        f"{stem}.md": comparison.markdown(frame, dataset, info),
        f"{stem}.tex": comparison.latex(frame, dataset, info),
    }
