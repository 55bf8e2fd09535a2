"""What was published beside what we found: config/published.csv against the cells of a study."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mixvae.errors import UserError
from mixvae.study import AnyRun, DatasetInfo
from mixvae.study.outputs import IMAGES
from mixvae.summary.columns import column_names, flat
from mixvae.summary.rendering import COLUMNS_NOTE, HOLE, TITLES, commented, latex_table, markdown_table, marks
from mixvae.summary.results import StudyRuns
from mixvae.summary.statistics import over_seeds
from mixvae.summary.tables import BITS, NOT_MEASURED, RELIABILITY, UNDEFINED, UNRELIABLE_SHARE, factor, grouped

PATH = Path("config/published.csv")
FIELDS = ("system", "dataset", "binarisation", "metric", "value", "unit", "grade", "source", "match")
THEIRS = ["system", "published", "unit", "binarisation", "grade", "source"]
OURS = ["ours", "low", "high", "difference", "unreliable", "stopped_by_budget", "epochs", "epochs_allowed", "seeds", "expected"]
COLUMNS = ["status", "column", "K", "metric", *THEIRS, *OURS, "training_points", "samples", "test_points", "budget"]
COMPARED, NOT_AT_HAND, CONTEXT = "compared", "not at hand", "context"
DERIVED = {"-elbo": ("elbo", "-"), "bpd": ("nll_miselbo", BITS)}
"""Published metrics that are made from one of ours: published bits per dimension compare with `nll_miselbo`, not with `nll`."""

NOTE = """\
One row per published value of the same system, prior, flow, kind of networks and likelihood on the same data, "{not_at_hand}" where
there is none for the metric that a system is judged by. Ours is the mean over seeds [with its interval over seeds]; difference is
ours - published, whatever it was trained with: widths, epochs and points may differ, and the budget says what ours had.
{columns}

- grade: P from the authors' own paper or file, S as a third party transcribed it, seed from the papers this benchmark reproduces.
- `-elbo`, `nll_miselbo`: nats; `nll_miselbo` is the estimator that papers on mixture posteriors print. `bpd`: bits per dimension
  made from `nll_miselbo`, while the metric `bpd` in metrics.csv is made from `nll`. Lower is better.
- `mse`, `rmse`: lower is better. `inception_score`, accuracies, `cluster_*`, `ari`, `nmi`, `asw_true`: higher is better. Components of
  an M-VAE have no order: those published and ours are set beside each other by their number only.
- budget: epochs trained of those allowed, seeds, L importance samples per component; training and test points where not all were used.
- †: the importance-weighted estimate is unreliable. ‡: training ended with its epochs, before it stopped improving.
- "{hole}": runs that failed, see failures.csv. Binarisation of this data set: {binarisation}.
"""
CONTEXT_NOTE = "Published for this data set, but of no system in this study, so not compared:"


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of published.csv as they are written; raises UserError when one is not complete."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; restore it from the repository") from None
    for line, row in enumerate(rows, start=2):
        try:
            parse_match(row["match"])
            complete = set(row) == set(FIELDS) and math.isfinite(float(row["value"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            complete = False
        if not complete:
            raise UserError(
                f"{path}: row {line}: expected {','.join(FIELDS)} with a number as value and match as key=value;..."
            )
    return rows


def parse_match(text: str) -> dict[str, str]:
    """Return the selector `key=value;...` as a mapping; raises ValueError."""
    return dict(pair.split("=") for pair in text.split(";") if pair)


def matches(selector: Mapping[str, str], spec: Mapping[str, Any]) -> bool:
    """Return whether every key of a selector, of which there is at least one, has its value in a flattened spec."""
    return bool(selector) and all(key in spec and _equal(spec[key], value) for key, value in selector.items())


def _equal(value: Any, text: str) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return value == float(text)
        except ValueError:
            return False
    return str(value) == text


def headline_metrics(spec: AnyRun, info: DatasetInfo) -> list[str]:
    """Return what a system is judged by, in the names of published.csv."""
    labelled = info.classes > 1
    if spec.model == "cpvae":
        return ["-elbo"] + ["cluster_accuracy"] * labelled
    if spec.model in ("gmvae", "gmvae_shu") and labelled:
        return ["cluster_accuracy" if spec.model == "gmvae" else "cluster_purity"]
    if spec.likelihood.name == "gaussian" and info.kind in IMAGES:
        colours = ["rmse"] + ["inception_score"] * (spec.model == "mvae")
        return colours if info.kind == "colour_image" else ["mse"]
    if info.kind == "counts" and labelled:
        return ["ari", "nmi", "asw_true"]
    return ["bpd" if info.kind == "colour_image" else "nll_miselbo"]


def compare(study: StudyRuns, metrics: pd.DataFrame, dataset: str, published: list[dict[str, str]]) -> pd.DataFrame:
    """Return one row per cell, metric and published value, and the published rows that are context, with columns COLUMNS.

    A data set of the user's own is other data, whatever its name, and has neither counterpart nor context.
    """
    info, names = study.datasets[dataset], column_names(study, dataset)
    there = [] if any(study.runs[run].data for run in names) else [row for row in published if row["dataset"] == dataset]
    values = metrics.set_index(["run", "metric"])["value"].to_dict()
    refused = metrics[metrics.unit.astype(str).str.startswith(NOT_MEASURED)]
    refused = set(zip(refused.run, refused.metric, strict=True))
    order = {column: number for number, column in enumerate(dict.fromkeys(names.values()))}
    rows, used = [], set()
    for (K, column), runs in sorted(grouped(study, names).items(), key=lambda cell: (order[cell[0][1]], cell[0][0])):
        spec = study.runs[runs[0]]
        counterparts = [i for i, row in enumerate(there) if matches(parse_match(row["match"]), flat(spec.spelt_out()))]
        used |= set(counterparts)
        found = [(row["metric"], row) for row in (there[i] for i in counterparts)]
        headlines = headline_metrics(spec, info)
        found += [(metric, None) for metric in headlines if metric not in {name for name, _ in found}]
        rank = {metric: number for number, metric in enumerate(headlines)}
        for metric, row in sorted(found, key=lambda pair: rank.get(pair[0], len(rank))):
            ours = _ours(metric, runs, values, info) | _budget(spec, runs, values, info)
            if math.isnan(ours["ours"]) and ours["seeds"]:
                ours["unmeasured"] = NOT_MEASURED if refused & {(run, metric) for run in runs} else UNDEFINED
            rows.append({"column": column, "K": K, "metric": metric, **ours, **_theirs(row, ours["ours"])})
    rows += [_theirs(row, math.nan) | {"status": CONTEXT} for i, row in enumerate(there) if i not in used]
    frame = pd.DataFrame(rows, columns=[*COLUMNS, "unmeasured"])
    whole = ["K", "epochs_allowed", "seeds", "expected", "training_points", "samples", "test_points"]
    return frame.astype(dict.fromkeys(whole, "Int64"))


def _theirs(row: Mapping[str, str] | None, ours: float) -> dict[str, Any]:
    if row is None:
        return {"status": NOT_AT_HAND}
    kept = {name: row[name] for name in ("system", "metric", "unit", "binarisation", "grade", "source")}
    return {"status": COMPARED, **kept, "published": row["value"], "difference": ours - float(row["value"])}


def _ours(metric: str, runs: list[str], values: Mapping[Any, float], info: DatasetInfo) -> dict[str, Any]:
    name, block = DERIVED.get(metric, (metric, metric))
    found = [factor(block, info) * value for run in runs if not math.isnan(value := values.get((run, name), math.nan))]
    share = [values.get((run, RELIABILITY.get(name)), 0.0) for run in runs]
    spread = over_seeds(np.array(found)) if found else None
    return {
        "ours": spread.mean if spread else math.nan,
        "low": spread.low if spread else math.nan,
        "high": spread.high if spread else math.nan,
        "unreliable": bool(np.mean(share) >= UNRELIABLE_SHARE),
    }


def _budget(spec: AnyRun, runs: list[str], values: Mapping[Any, float], info: DatasetInfo) -> dict[str, Any]:
    """Return what ours was trained and evaluated with, as numbers and as one line."""
    training, evaluation = spec.training, spec.evaluation
    there = [run for run in runs if (run, "epochs") in values]
    epochs = sorted({int(values[run, "epochs"]) for run in there})
    stopped = any(values.get((run, "stopped_by_budget")) for run in there)
    train = min(training.points or info.splits.train, info.splits.train)
    test = min(evaluation.points or info.splits.test, info.splits.test)
    trained = "-".join(map(str, dict.fromkeys((epochs[0], epochs[-1])))) if epochs else ""
    parts = [
        f"{trained} of {training.epochs} epochs{' ' + marks(False, stopped) if stopped else ''}" if epochs else "not trained"
    ]
    if train < info.splits.train:
        parts.append(f"{train} of {info.splits.train} training points")
    if training.samples > 1:
        parts.append(f"IWAE bound of {training.samples}")
    seeds = f"{len(there)} of {len(runs)}" if len(there) < len(runs) else str(len(runs))
    parts += [f"{seeds} seed{'s' if len(runs) > 1 else ''}", f"L = {evaluation.samples}"]
    if test < info.splits.test:
        parts.append(f"{test} of {info.splits.test} test points")
    return {
        "epochs": trained,
        "epochs_allowed": training.epochs,
        "stopped_by_budget": stopped,
        "seeds": len(there),
        "expected": len(runs),
        "training_points": train,
        "samples": evaluation.samples,
        "test_points": test,
        "budget": ", ".join(parts),
    }


def numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table as it is written to CSV."""
    return frame[COLUMNS]


def text(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return as text what is compared, and the context."""
    compared, context = [], []
    for row in frame.to_dict("records"):
        source = row["source"] if isinstance(row["source"], str) else ""
        if row["status"] == CONTEXT:
            theirs = {name: row[name] for name in ("system", "metric", "published", "unit", "binarisation", "grade")}
            context.append(theirs | {"source": source})
            continue
        known = row["status"] == COMPARED
        compared.append(
            {
                "ours": row["column"],
                "K": row["K"],
                "metric": row["metric"],
                "published as": row["system"] if known else NOT_AT_HAND,
                "published": row["published"] if known else "",
                "grade": row["grade"] if known else "",
                "source": source,
                "our value": _value(row),
                "difference": "" if pd.isna(row["difference"]) else f"{row['difference']:+.{_digits(row)}f}",
                "our budget": row["budget"],
            }
        )
    return pd.DataFrame(compared), pd.DataFrame(context)


def _digits(row: Mapping[str, Any]) -> int:
    return 2 if row["metric"] in ("-elbo", "nll_miselbo", "mse") else 4


def _value(row: Mapping[str, Any]) -> str:
    if pd.isna(row["ours"]):
        return row["unmeasured"] if isinstance(row["unmeasured"], str) else HOLE
    mean, low, high = (f"{row[name]:.{_digits(row)}f}" for name in ("ours", "low", "high"))
    return mean + marks(row["unreliable"], row["stopped_by_budget"]) + (f" [{low}, {high}]" if row["seeds"] > 1 else "")


def _note(info: DatasetInfo) -> str:
    return NOTE.format(
        not_at_hand=NOT_AT_HAND,
        columns=COLUMNS_NOTE,
        hole=HOLE,
        binarisation=info.binarisation or "none, values are used as they are",
    )


def markdown(frame: pd.DataFrame, dataset: str, info: DatasetInfo) -> str:
    """Return a page with the comparison, its note and the context."""
    compared, context = text(frame)
    page = f"# {dataset}: {TITLES['published']}\n\n{markdown_table(compared)}\n\n{_note(info)}"
    return page + (f"\n{CONTEXT_NOTE}\n\n{markdown_table(context)}\n" if len(context) else "")


def latex(frame: pd.DataFrame, dataset: str, info: DatasetInfo) -> str:
    """Return the comparison and the context as LaTeX tables, the note above them as a comment."""
    compared, context = text(frame)
    page = commented(_note(info)) + latex_table(compared, f"{dataset}: {TITLES['published']}")
    return page + (latex_table(context, f"{dataset}: {CONTEXT_NOTE.removesuffix(':')}") if len(context) else "")
