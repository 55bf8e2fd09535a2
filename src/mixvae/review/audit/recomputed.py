"""Check `recomputed`: metrics follow from the values of the test points, and tables from the metrics."""

import io
import math
from pathlib import Path

import pandas as pd

from mixvae.code import ROOT
from mixvae.measuring.entries import of_points
from mixvae.measuring.evaluation import metrics
from mixvae.review.audit.findings import Findings
from mixvae.review.audit.reading import Unreadable, read_frame, read_mapping, read_parquet, read_text
from mixvae.review.audit.subject import Subject
from mixvae.summary import tabulation
from mixvae.summary.published import PATH as PUBLISHED
from mixvae.summary.published import read as read_published

TOLERANCE = 1e-9
"""The relative tolerance: other processors add up in another order."""


def check(subject: Subject, findings: Findings) -> None:
    """Compute the likelihoods and the tables again from the runs' files, and compare."""
    readable = True
    for run in subject.present:
        path = subject.run_file(run, "likelihood.json")
        if subject.there(path) and subject.there(path.with_name("pointwise.npz")):
            with findings.guarded(path):
                readable &= _likelihoods(run, path, subject, findings)
        subject.check_file(_annealed, subject.run_file(run, "bracket.json"), findings, run)
    needed = [file for job in subject.jobs if job.name in subject.present for file in job.files]
    if not readable or not all(map(subject.there, needed)):
        message = "the tables cannot be computed again, since files are missing or cannot be read"
        findings.note(subject.folder, message, about=("tabulate", subject.study.name))
        return
    with findings.guarded(subject.folder / "metrics.csv"):
        published = read_published(ROOT / PUBLISHED)
        content = tabulation.content(subject.study, subject.results / "runs", set(subject.missing), published)
        for file, expected in content.items():
            path = subject.folder / file
            if subject.there(path):
                with findings.guarded(path):
                    if difference := _difference(path, expected, subject):
                        findings.fail(path, f"not what the runs' files give: {difference}; delete it and run again")


def _likelihoods(run: str, path: Path, subject: Subject, findings: Findings) -> bool:
    """Compare a run's likelihoods with the values of its test points; return whether these can be read."""
    spec = subject.study.runs[run]
    try:
        found = read_mapping(path, subject.results)["metrics"]
        arrays = subject.pointwise(run)
    except Unreadable:
        return False  # other checks report a file that cannot be read
    info = subject.study.datasets[spec.dataset]
    for metric, entry in metrics(arrays).items():
        if metric in found and metric not in spec.extra_metrics(info.kind):
            for part in ("value", "stderr"):
                if not _same(found[metric][part], entry[part]):
                    findings.fail(path, f"{metric}: {part} {found[metric][part]}, but {entry[part]} by pointwise.npz")
    return True


def _annealed(run: str, path: Path, subject: Subject, findings: Findings) -> None:
    """Compare a run's annealed likelihoods with their values at the points."""
    if not subject.there(path.with_suffix(".npz")):
        return
    found, arrays = read_mapping(path, subject.results)["metrics"], subject.pointwise(run, "bracket.npz")
    for name in ("nll_ais", "nll_train", "nll_adaptive"):
        if name in arrays:
            entry = of_points(name, arrays[name], arrays[f"{name}_variance"])
            for part in ("value", "stderr", "mc_error"):
                if not _same(found[name][part], entry[part]):
                    findings.fail(path, f"{name}: {part} {found[name][part]}, but {entry[part]} by bracket.npz")


def _same(one: object, other: object) -> bool:
    """Return whether two cells are the same; numbers may differ by rounding."""
    try:
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE) or (math.isnan(one) and math.isnan(other))
    except TypeError:
        return one == other


def _difference(path: Path, expected: pd.DataFrame | str, subject: Subject) -> str:
    """Return the first difference between a file and the expected table or text, "" if there is none."""
    if isinstance(expected, str):
        return "" if read_text(path, subject.results) == expected else "its text differs"
    if path.suffix == ".parquet":
        found = read_parquet(path, subject.results, len(expected))
    else:
        found, expected = read_frame(path, subject.results), pd.read_csv(io.StringIO(expected.to_csv(index=False)))
    if list(found.columns) != list(expected.columns):
        return f"columns {list(found.columns)}, expected {list(expected.columns)}"
    if len(found) != len(expected):
        return f"{len(found)} rows, expected {len(expected)}"
    for column in expected.columns:
        for row, (one, other) in enumerate(zip(found[column], expected[column], strict=True), start=1):
            if not (_same(one, other) or (pd.isna(one) and pd.isna(other))):
                return f"row {row}, column {column}: {one!r}, expected {other!r}"
    return ""
