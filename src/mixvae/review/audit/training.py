"""Training: what a run says of it follows from its spec, from every epoch on record and from the weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from mixvae.fitting.training import HISTORY_COLUMNS, beta_at
from mixvae.review.audit.findings import Findings
from mixvae.review.audit.reading import Unreadable, locate, read_mapping, read_text
from mixvae.review.audit.subject import Subject
from mixvae.study import AnyRun
from mixvae.study.parts import Training

ROUNDING = 1e-9


def check(subject: Subject, findings: Findings) -> None:
    """Compare every run's training.json and record with its history and weights."""
    for run, spec in subject.present.items():
        folder = subject.results / "runs" / run
        with findings.guarded("train", run, folder / "training.json"):
            _training(run, spec, folder, subject, findings)


def _training(run: str, spec: AnyRun, folder: Path, subject: Subject, findings: Findings) -> None:
    facts, record = folder / "training.json", folder / "provenance/train.json"
    found = {record: subject.facts[job]} if (job := ("train", run)) in subject.facts else {}
    if subject.there(facts):
        try:
            found[facts] = read_mapping(facts, subject.results)
        except Unreadable as reason:
            findings.fail("train", run, facts, reason)
    for name, follow in (("history.csv", _of_history), ("model.safetensors", _of_weights)):
        source = folder / name
        if subject.there(source):
            with findings.guarded("train", run, source):
                try:
                    expected = follow(source, spec, subject)
                except Unreadable as reason:
                    findings.fail("train", run, source, reason)
                    continue
                for fact, value in expected.items():
                    file = record if fact == "train_seconds" else facts
                    if file in found and found[file].get(fact) != value:
                        message = f"{fact} {found[file].get(fact)!r}, but {value!r} by {name}"
                        findings.fail("train", run, file, message)
    if facts in found and found[facts].get("stopped_by") == "budget":
        findings.warn("train", run, facts, f"stopped by its {spec.training.epochs} epochs, while it still improved")


def _of_history(path: Path, spec: AnyRun, subject: Subject) -> dict[str, Any]:
    """Return what training.json and the record must say. Raises Unreadable for epochs that no training of the spec has."""
    column = _history(path, subject)
    epochs = len(column["epoch"])
    if spec.model == "constant":
        if epochs:
            raise Unreadable(f"{epochs} epochs of a control, which is fitted in closed form")
        return {"epochs": 0, "best_epoch": 0, "stopped_by": "closed form", "train_seconds": 0.0}
    settings = spec.training
    if not 1 <= epochs <= settings.epochs:
        raise Unreadable(f"{epochs} epochs, expected 1 to {settings.epochs}")
    if not np.array_equal(column["epoch"], np.arange(epochs)):
        raise Unreadable(f"epochs are not numbered from 0 to {epochs - 1}")
    beta = [beta_at(epoch, settings.warmup) for epoch in range(epochs)]
    if not np.allclose(column["beta"], beta, rtol=0, atol=ROUNDING):
        raise Unreadable(f"beta is not that of a warm-up of {settings.warmup} epochs")
    best = _best_so_far(column["valid_bound"])
    patience = _patience_ended(best, settings)
    if patience[:-1].any():
        raise Unreadable(f"goes on after epoch {int(patience.argmax())}, at which its patience ended")
    if not patience[-1] and epochs < settings.epochs:
        raise Unreadable(f"ends after {epochs} of {settings.epochs} epochs, before its patience did")
    return {
        "epochs": epochs,
        "best_epoch": int(best[-1]),
        "stopped_by": "patience" if patience[-1] else "budget",
        "train_seconds": float(column["seconds"][-1]),
    }


def _history(path: Path, subject: Subject) -> dict[str, np.ndarray]:
    """Return the columns, (epochs,) each. Raises Unreadable, also for numbers that are not finite and a clock that goes back."""
    head, *lines = read_text(path, subject.results).splitlines() or [""]
    if head != ",".join(HISTORY_COLUMNS):
        raise Unreadable(f"columns {head!r}, expected {','.join(HISTORY_COLUMNS)!r}")
    try:
        # as exact as they were written, since the best epoch may be so by the last digit
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


def _best_so_far(bound: np.ndarray) -> np.ndarray:
    """Return the epoch with the largest bound up to every epoch, the first of equal ones, (epochs,)."""
    before = np.concatenate([[-np.inf], np.maximum.accumulate(bound)[:-1]])
    return np.maximum.accumulate(np.where(bound > before, np.arange(len(bound)), 0))


def _patience_ended(best: np.ndarray, settings: Training) -> np.ndarray:
    """Return whether training must stop after every epoch, (epochs,): the rule of `mixvae.fitting.training` for all at once."""
    return np.arange(len(best)) - np.maximum(best, settings.warmup - 1) >= settings.patience


def _of_weights(path: Path, spec: AnyRun, subject: Subject) -> dict[str, Any]:
    """Return how many parameters the file's header has; its length is compared with it. Raises Unreadable."""
    try:
        with safe_open(locate(path, subject.results), "np") as file:
            tensors = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118
            # masks of a flow are kept, too, and are no real numbers
            return {"parameters": sum(math.prod(tensor.get_shape()) for tensor in tensors if "F" in tensor.get_dtype())}
    except (SafetensorError, OSError) as error:
        raise Unreadable(f"not readable weights: {error}") from None
