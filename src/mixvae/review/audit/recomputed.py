"""Recomputed: metrics from the values of the test points, and tables from the metrics, are those on disk."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pandas as pd

from mixvae.measuring.evaluation import metrics
from mixvae.provenance import ROOT
from mixvae.review.audit.findings import Findings
from mixvae.review.audit.reading import Unreadable, read_frame, read_mapping, read_parquet, read_text
from mixvae.review.audit.subject import Subject
from mixvae.study.steps import rules_of
from mixvae.summary import tabulation
from mixvae.summary.published import PATH as PUBLISHED
from mixvae.summary.published import read as read_published

TOLERANCE = 1e-9
"""Relative: other processors add up in another order."""
FROM_ELSEWHERE = {"toy": {"kl"}}
"""Metrics of a model that are not of the same name's values of test points: the KL of a toy posterior is summed over a grid."""


def check(subject: Subject, findings: Findings) -> None:
    """Compute again what can be computed from the runs' files."""
    readable = True
    for run in subject.present:
        path = subject.results / "runs" / run / "likelihood.json"
        if subject.there(path) and subject.there(path.with_name("pointwise.npz")):
            with findings.guarded("evaluate", run, path):
                readable &= _likelihoods(run, path, subject, findings)
    _tables(subject, readable, findings)


def _likelihoods(run: str, path: Path, subject: Subject, findings: Findings) -> bool:
    """Compare a run's likelihoods with the values of its test points; return whether these can be read."""
    spec = subject.study.runs[run]
    try:
        found = read_mapping(path, subject.results)["metrics"]
        arrays = subject.pointwise(run)
    except Unreadable:
        return False  # reported by the checks of either file
    dimensions = math.prod(subject.study.datasets[spec.dataset].shape)
    for metric, entry in metrics(arrays, spec.likelihood.name, dimensions).items():
        if metric in FROM_ELSEWHERE.get(spec.model, ()) or metric not in found:
            continue
        for part in ("value", "stderr"):
            if not same(found[metric][part], entry[part]):
                message = f"{metric}: {part} {found[metric][part]}, but {entry[part]} by pointwise.npz"
                findings.fail("evaluate", run, path, message)
    return True


def same(one: object, other: object) -> bool:
    """Return whether two numbers, or two cells that need not be numbers, are the same but for rounding."""
    try:
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE) or (math.isnan(one) and math.isnan(other))
    except TypeError:
        return one == other


def _tables(subject: Subject, readable: bool, findings: Findings) -> None:
    name = subject.study.name
    needed = [
        file
        for step in subject.steps
        if step.name in subject.present and step.rule in rules_of(subject.study.runs[step.name])
        for file in step.files
    ]
    if not readable or not all(subject.there(file) for file in needed):
        findings.note(
            "tabulate", name, subject.folder, "the tables cannot be computed again, since files are missing or cannot be read"
        )
        return
    with findings.guarded("tabulate", name, subject.folder / "metrics.csv"):
        content = tabulation.content(
            subject.study, subject.results / "runs", set(subject.missing), read_published(ROOT / PUBLISHED)
        )
        for file, expected in content.items():
            if subject.there(subject.folder / file):
                with findings.guarded("tabulate", name, subject.folder / file):
                    _compare(subject.folder / file, expected, subject, findings)


def _compare(path: Path, expected: pd.DataFrame | str, subject: Subject, findings: Findings) -> None:
    if isinstance(expected, str):
        difference = "" if read_text(path, subject.results) == expected else "its text differs"
    elif path.suffix == ".parquet":
        difference = differing(read_parquet(path, subject.results, len(expected)), expected)
    else:
        there = read_frame(path, subject.results)
        difference = differing(there, pd.read_csv(io.StringIO(expected.to_csv(index=False))))
    if difference:
        message = f"not what the runs' files give: {difference}; delete it and run again"
        findings.fail("tabulate", subject.study.name, path, message)


def differing(found: pd.DataFrame, expected: pd.DataFrame) -> str:
    """Return where two tables differ first, or nothing."""
    if list(found.columns) != list(expected.columns):
        return f"columns {list(found.columns)}, expected {list(expected.columns)}"
    if len(found) != len(expected):
        return f"{len(found)} rows, expected {len(expected)}"
    for column in expected.columns:
        for row, (one, other) in enumerate(zip(found[column], expected[column], strict=True)):
            if not (same(one, other) or (pd.isna(one) and pd.isna(other))):
                return f"row {row + 1}, column {column}: {one!r}, expected {other!r}"
    return ""
