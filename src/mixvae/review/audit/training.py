"""Check `training`: a run's training.json and record follow from its spec, every epoch in history.csv, and its weights."""

from pathlib import Path
from typing import Any

import numpy as np

from mixvae.fitting.training import HISTORY_COLUMNS, kl_weight_at
from mixvae.review.audit.findings import Findings
from mixvae.review.audit.reading import Unreadable, parameters_in, read_mapping, read_text
from mixvae.review.audit.subject import Subject
from mixvae.study import Run

ROUNDING = 1e-9


def check(subject: Subject, findings: Findings) -> None:
    """Compare every run's training.json and record with its history and weights."""
    for run in subject.present:
        said = {"provenance/train.json": subject.facts["train", run]} if ("train", run) in subject.facts else {}
        subject.check_file(_training, subject.run_file(run, "training.json"), findings, run, said)
        for name in ("history.csv", "model.safetensors"):
            subject.check_file(_claims, subject.run_file(run, name), findings, run, said)


def _training(run: str, said: dict[str, dict[str, Any]], path: Path, subject: Subject, findings: Findings) -> None:
    """Add the content of training.json to `said`, and warn of a training that ended with its epochs."""
    said[path.name] = read_mapping(path, subject.results)
    if said[path.name].get("stopped_by") == "budget":
        epochs = subject.study.runs[run].training.epochs
        findings.warn(path, f"stopped by its {epochs} epochs, while it still improved")


def _claims(run: str, said: dict[str, dict[str, Any]], path: Path, subject: Subject, findings: Findings) -> None:
    """Fail what files say, {file: content}, unless it follows from the run's history or weights."""
    if path.name == "history.csv":
        found = _of_history(path, subject.study.runs[run], subject)
    else:
        found = {"parameters": parameters_in(path, subject.results)}
    for fact, value in found.items():
        file = "provenance/train.json" if fact == "train_seconds" else "training.json"
        if file in said and said[file].get(fact) != value:
            findings.fail(subject.run_file(run, file), f"{fact} {said[file].get(fact)!r}, but {value!r} by {path.name}")


def _of_history(path: Path, spec: Run, subject: Subject) -> dict[str, Any]:
    """Return what training.json and the record must say. Raises Unreadable for a history that the spec cannot lead to."""
    column = _read_history(path, subject)
    epochs = len(column["epoch"])
    if spec.is_control:
        if epochs:
            raise Unreadable(f"{epochs} epochs of a control, which is fitted in closed form")
        return {"epochs": 0, "best_epoch": 0, "stopped_by": "closed form", "train_seconds": 0.0}
    settings = spec.training
    if not 1 <= epochs <= settings.epochs:
        raise Unreadable(f"{epochs} epochs, expected 1 to {settings.epochs}")
    if not np.array_equal(column["epoch"], np.arange(epochs)):
        raise Unreadable(f"epochs are not numbered from 0 to {epochs - 1}")
    beta = [kl_weight_at(epoch, settings.warmup) for epoch in range(epochs)]
    if not np.allclose(column["beta"], beta, rtol=0, atol=ROUNDING):
        raise Unreadable(f"beta is not that of a warm-up of {settings.warmup} epochs")
    best, ended = 0, []  # by the rule of `mixvae.fitting.training`
    for epoch, bound in enumerate(column["valid_bound"]):
        best = epoch if bound > column["valid_bound"][best] else best
        ended.append(epoch - max(best, settings.warmup - 1) >= settings.patience)
    if True in ended[:-1]:
        raise Unreadable(f"goes on after epoch {ended.index(True)}, at which its patience ended")
    if not ended[-1] and epochs < settings.epochs:
        raise Unreadable(f"ends after {epochs} of {settings.epochs} epochs, before its patience did")
    return {
        "epochs": epochs,
        "best_epoch": best,
        "stopped_by": "patience" if ended[-1] else "budget",
        "train_seconds": float(column["seconds"][-1]),
    }


def _read_history(path: Path, subject: Subject) -> dict[str, np.ndarray]:
    """Return the columns, (epochs,) each. Raises Unreadable, also for numbers that are not finite or a clock that goes back."""
    head, *lines = read_text(path, subject.results).splitlines() or [""]
    if head != ",".join(HISTORY_COLUMNS):
        raise Unreadable(f"columns {head!r}, expected {','.join(HISTORY_COLUMNS)!r}")
    try:
        # exactly the numbers that were written, since the last digit may decide which epoch is the best
        rows = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2) if lines else np.empty((0, len(HISTORY_COLUMNS)))
        column = dict(zip(HISTORY_COLUMNS, rows.T, strict=True))
    except ValueError as error:
        raise Unreadable(f"not rows of numbers: {error}") from None
    for name, values in column.items():
        if not np.isfinite(values).all():
            raise Unreadable(f"{name}: not finite at epoch {int(np.isfinite(values).argmin())}")
    if (np.diff(column["seconds"], prepend=0.0) < 0).any():
        raise Unreadable("seconds: they go back")
    return column
