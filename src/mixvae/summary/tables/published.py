"""Table published sets the values in config/published.csv beside ours, the means of a study's groups of runs."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from mixvae.study.metrics import BITS, NATS, SQUARES, metric_of
from mixvae.study.resources import points
from mixvae.summary.cells import ORIGIN, Sources, cell, marked
from mixvae.summary.columns import flat
from mixvae.summary.groups import Group
from mixvae.summary.published import matches, parse_match
from mixvae.summary.rendering import HOLE, Entry, Grid, absence, label, listed, marks, numeric
from mixvae.summary.tables.table import Table

THEIRS = ["system", "published", "unit", "binarisation", "grade", "source"]
OURS = ["ours", "low", "high", "difference", "unreliable", "stopped_by_budget", "epochs", "epochs_allowed", "seeds", "expected"]
BUDGET = ["training_points", "samples", "test_points", "budget"]
COLUMNS = ["status", "column", "K", "metric", *THEIRS, *OURS, *BUDGET, "unmeasured", *ORIGIN]
WHOLE = ["K", "epochs_allowed", "seeds", "expected", "training_points", "samples", "test_points"]
COMPARED, NOT_AT_HAND, CONTEXT = "compared", "not at hand", "context"
DERIVED = {"bpd": f"nll_miselbo{BITS}"}
"""Our names of published quantities: published bits per dimension compare with `nll_miselbo`, not with `nll`."""

NOTE = f"""\
Each row sets a published value beside ours, of the same system, prior, flow, kind of networks and likelihood on the same data.

- "{NOT_AT_HAND}": there is no published value for a metric that the system is judged by.
- our value: mean over seeds [interval over seeds]. difference: ours less published, whatever ours was trained with. Widths, epochs
  and points may differ; our budget says what ours had.
- our budget: epochs trained of those allowed, seeds, L importance samples per component, and training and test points where not
  all were used.
- grade: "P" is from the authors' own paper or file, "S" was transcribed by a third party, and "seed" is from the papers that this
  benchmark reproduces.
{{columns}}
{{marks}}
- `-elbo`, `nll_miselbo`: nats, lower is better. `nll_miselbo` is the estimator that papers on mixture posteriors print.
- `bpd`: bits per dimension made from `nll_miselbo`, lower is better. The metric `bpd` in metrics.csv is made from `nll_ais`, or
  else from `nll`.
- `mse`, `rmse`: lower is better.
- `inception_score`, accuracies, `cluster_*`, `ari`, `nmi`, `asw_true`: higher is better.
- The components of an M-VAE have no order: published ones and ours are set beside each other by their number only.
{{hole}}
- Binarisation of this data set: {{binarisation}}.
"""
CONTEXT_NOTE = "Published for this data set, but of no system in this study, so not compared:"


def make(sources: Sources) -> pd.DataFrame:
    """Return one row per group of runs, metric and published value, and the published rows that are context, with COLUMNS.

    A user's own data set has neither counterpart nor context, even if it has the name of a published one.
    """
    own = any(group.spec.data for group in sources.groups.values())
    there = [] if own else [row for row in sources.published if row["dataset"] == sources.dataset]
    rows, used = [], []
    for group in sorted(sources.groups.values(), key=lambda group: (sources.keys.index(group.key), group.K)):
        settings = flat(group.spec.spelt_out())
        counterparts = [row for row in there if matches(parse_match(row["match"]), settings)]
        used += counterparts
        rows += _rows(group, counterparts, sources)
    rows += [_theirs(row, math.nan) | {"status": CONTEXT} for row in there if row not in used]
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(WHOLE, "Int64"))


def _rows(group: Group, counterparts: list[dict[str, str]], sources: Sources) -> Iterator[dict[str, Any]]:
    """Yield the rows of a group: first the metrics that it is judged by, even if no value is published, then the others."""
    judged = group.spec.judged_by(sources.info)
    found = [(row["metric"], row) for row in counterparts]
    found += [(metric, None) for metric in judged if metric not in {name for name, _ in found}]
    rank = {metric: number for number, metric in enumerate(judged)}
    for metric, row in sorted(found, key=lambda pair: rank.get(pair[0], len(rank))):
        name = DERIVED.get(metric, metric)
        ours = cell(sources, group, name) | marked(sources, group, name) | _budget(group, sources)
        mean = ours.get("mean", math.nan)
        yield ours | _theirs(row, mean) | {"metric": metric, "ours": mean}


def _theirs(row: Mapping[str, str] | None, ours: float) -> dict[str, Any]:
    if row is None:
        return {"status": NOT_AT_HAND}
    return {**row, "status": COMPARED, "published": row["value"], "difference": ours - float(row["value"])}


def _budget(group: Group, sources: Sources) -> dict[str, Any]:
    """Return the epochs, seeds, points and samples that a group was trained and evaluated with, as numbers and as one line."""
    spec, info = group.spec, sources.info
    training = spec.training
    epochs = sorted(int(value) for value in sources.numbers(group.runs, "epochs"))
    seeds, expected = len(epochs), len(group.runs)
    train, test = (points(spec, info, part) for part in ("train", "test"))
    trained = "-".join(map(str, dict.fromkeys((epochs[0], epochs[-1])))) if epochs else ""
    there = f"{seeds} of {expected}" if seeds < expected else str(expected)
    parts = {
        f"{trained} of {training.epochs} epochs{' ‡' * sources.stopped(group.runs)}" if epochs else "not trained": True,
        f"{train} of {info.splits.train} training points": train < info.splits.train,
        f"IWAE bound of {training.samples}": training.samples > 1,
        f"{there} seed{'s' * (expected > 1)}, L = {spec.evaluation.samples}": True,
        f"{test} of {info.splits.test} test points": test < info.splits.test,
    }
    return {
        "epochs": trained,
        "epochs_allowed": training.epochs,
        "seeds": seeds,
        "expected": expected,
        "training_points": train,
        "samples": spec.evaluation.samples,
        "test_points": test,
        "budget": ", ".join(part for part, said in parts.items() if said),
    }


def _our_value(row: Mapping[str, Any]) -> Entry:
    if pd.isna(row["ours"]):
        return Entry(absence(row["unmeasured"]) or HOLE, cell=row, fact="ours")
    mean, low, high = (f"{row[name]:.{_decimals(row)}f}" for name in ("ours", "low", "high"))
    rest = (f"[{low}, {high}]",) if row["seeds"] > 1 else ()
    return Entry(mean, marks(row), rest, order=row["ours"], cell=row, fact="ours")


def _decimals(row: Mapping[str, Any]) -> int:
    return 2 if metric_of(DERIVED.get(row["metric"], row["metric"])).unit in (NATS, SQUARES) else 4


SHOWN = {
    "ours": "column",
    "K": "K",
    "metric": "metric",
    "published as": lambda row: label(row["system"] if row["status"] == COMPARED else NOT_AT_HAND),
    "published": lambda row: (
        Entry(str(row["published"]), order=float(row["published"])) if row["status"] == COMPARED else Entry("")
    ),
    "grade": "grade",
    "source": "source",
    "our value": _our_value,
    "difference": lambda row: numeric(f"{{:+.{_decimals(row)}f}}".format, row["difference"]),
    "our budget": "budget",
}


def grids(frame: pd.DataFrame) -> list[Grid]:
    """Return the grid of the rows that are compared, and that of the context if there is any."""
    context = frame.status == CONTEXT
    compared = listed(frame[~context], SHOWN if not context.all() else {})
    others = ["system", "metric", "published", "unit", "binarisation", "grade", "source"]
    more = listed(frame[context], dict(zip(others, others, strict=True)))
    return [compared, more._replace(heading=CONTEXT_NOTE)] if context.any() else [compared]


TABLE = Table(
    "published and ours",
    make,
    NOTE,
    ("column", "metric", "K"),
    grids,
    lambda frame, sources: {"binarisation": sources.info.binarisation or "none, values are used as they are"},
)
