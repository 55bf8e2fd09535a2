"""Table published: the values in config/published.csv beside ours, those of the groups of a study."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from mixvae.study.metrics import BITS, NATS, SQUARES, metric_of
from mixvae.study.resources import points
from mixvae.summary.cells import ORIGIN, Group, Sources, origin, summary
from mixvae.summary.columns import flat
from mixvae.summary.published import matches, parse_match
from mixvae.summary.rendering import COLUMNS_NOTE, HOLE, Entry, Grid, absence, label, marks, whole

TITLE = "published and ours"
ROWS = ("column", "metric", "K")
THEIRS = ["system", "published", "unit", "binarisation", "grade", "source"]
OURS = ["ours", "low", "high", "difference", "unreliable", "stopped_by_budget", "epochs", "epochs_allowed", "seeds", "expected"]
BUDGET = ["training_points", "samples", "test_points", "budget"]
COLUMNS = ["status", "column", "K", "metric", *THEIRS, *OURS, *BUDGET, "unmeasured", *ORIGIN]
WHOLE = ["K", "epochs_allowed", "seeds", "expected", "training_points", "samples", "test_points"]
COMPARED, NOT_AT_HAND, CONTEXT = "compared", "not at hand", "context"
DERIVED = {"bpd": f"nll_miselbo{BITS}"}
"""Our names of published quantities: published bits per dimension compare with `nll_miselbo`, not with `nll`."""

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


def make(sources: Sources) -> pd.DataFrame:
    """Return one row per group of runs, metric and published value, and the published rows that are context, with COLUMNS.

    A user's own data set has neither counterpart nor context, even if it has the name of a published one.
    """
    own = any(group.spec.data for group in sources.groups.values())
    there = [] if own else [row for row in sources.published if row["dataset"] == sources.dataset]
    rows, used = [], set()
    for group in sorted(sources.groups.values(), key=lambda group: (sources.keys.index(group.key), group.K)):
        settings = flat(group.spec.spelt_out())
        counterparts = [number for number, row in enumerate(there) if matches(parse_match(row["match"]), settings)]
        used |= set(counterparts)
        rows += _rows(group, [there[number] for number in counterparts], sources)
    rows += [_theirs(row, math.nan) | {"status": CONTEXT} for number, row in enumerate(there) if number not in used]
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(WHOLE, "Int64"))


def _rows(group: Group, counterparts: list[dict[str, str]], sources: Sources) -> Iterator[dict[str, Any]]:
    """Yield the rows of a group: first the metrics that it is judged by, even if no value is published, then the others."""
    judged = group.spec.judged_by(sources.info)
    found = [(row["metric"], row) for row in counterparts]
    found += [(metric, None) for metric in judged if metric not in {name for name, _ in found}]
    rank = {metric: number for number, metric in enumerate(judged)}
    for metric, row in sorted(found, key=lambda pair: rank.get(pair[0], len(rank))):
        name = DERIVED.get(metric, metric)
        ours = summary(sources, group.runs, name)
        mean = ours.get("mean", math.nan)
        yield {
            "column": group.column,
            "K": group.K,
            "metric": metric,
            "ours": mean,
            "low": ours.get("low"),
            "high": ours.get("high"),
            "unreliable": sources.unreliable(group.runs, name),
            "unmeasured": ours["unmeasured"],
            **_budget(group, sources),
            **_theirs(row, mean),
            **origin(group.key, name, sources.info, group.runs),
        }


def _theirs(row: Mapping[str, str] | None, ours: float) -> dict[str, Any]:
    if row is None:
        return {"status": NOT_AT_HAND}
    kept = {name: row[name] for name in ("system", "metric", "unit", "binarisation", "grade", "source")}
    return {"status": COMPARED, **kept, "published": row["value"], "difference": ours - float(row["value"])}


def _budget(group: Group, sources: Sources) -> dict[str, Any]:
    """Return the epochs, seeds, points and samples that a group was trained and evaluated with, as numbers and as one line."""
    spec, info = group.spec, sources.info
    training = spec.training
    epochs = sorted({int(value) for value in sources.numbers(group.runs, "epochs")})
    seeds, expected = len(sources.numbers(group.runs, "epochs")), len(group.runs)
    stopped = sources.stopped(group.runs)
    train, test = (points(spec, info, part) for part in ("train", "test"))
    trained = "-".join(map(str, dict.fromkeys((epochs[0], epochs[-1])))) if epochs else ""
    parts = [f"{trained} of {training.epochs} epochs{' ‡' * stopped}" if epochs else "not trained"]
    if train < info.splits.train:
        parts.append(f"{train} of {info.splits.train} training points")
    if training.samples > 1:
        parts.append(f"IWAE bound of {training.samples}")
    there = f"{seeds} of {expected}" if seeds < expected else str(expected)
    parts += [f"{there} seed{'s' * (expected > 1)}", f"L = {spec.evaluation.samples}"]
    if test < info.splits.test:
        parts.append(f"{test} of {info.splits.test} test points")
    return {
        "epochs": trained,
        "epochs_allowed": training.epochs,
        "stopped_by_budget": stopped,
        "seeds": seeds,
        "expected": expected,
        "training_points": train,
        "samples": spec.evaluation.samples,
        "test_points": test,
        "budget": ", ".join(parts),
    }


def grids(frame: pd.DataFrame) -> list[Grid]:
    """Return the grid of the rows that are compared, and that of the context if there is any."""
    headers = ["ours", "K", "metric", "published as", "published", "grade", "source", "our value", "difference", "our budget"]
    compared = [_entries(row) for row in frame[frame.status != CONTEXT].to_dict("records")]
    found = [Grid(headers if compared else [], compared)]
    names = ["system", "metric", "published", "unit", "binarisation", "grade", "source"]
    context = [[label(row[name]) for name in names] for row in frame[frame.status == CONTEXT].to_dict("records")]
    return found + ([Grid(names, context, CONTEXT_NOTE)] if context else [])


def _entries(row: Mapping[str, Any]) -> list[Entry]:
    decimals = 2 if metric_of(DERIVED.get(row["metric"], row["metric"])).unit in (NATS, SQUARES) else 4
    known, difference = row["status"] == COMPARED, row["difference"]
    return [
        label(row["column"]),
        whole(row["K"]),
        label(row["metric"]),
        label(row["system"] if known else NOT_AT_HAND),
        Entry(str(row["published"]), order=float(row["published"])) if known else Entry(""),
        label(row["grade"]),
        label(row["source"]),
        _value(row, decimals),
        Entry("") if pd.isna(difference) else Entry(f"{difference:+.{decimals}f}", order=difference),
        label(row["budget"]),
    ]


def _value(row: Mapping[str, Any], decimals: int) -> Entry:
    if pd.isna(row["ours"]):
        return Entry(absence(row["unmeasured"]) or HOLE, cell=row, fact="ours")
    mean, low, high = (f"{row[name]:.{decimals}f}" for name in ("ours", "low", "high"))
    rest = (f"[{low}, {high}]",) if row["seeds"] > 1 else ()
    return Entry(mean, marks(row), rest, order=row["ours"], cell=row, fact="ours")


def note(frame: pd.DataFrame, sources: Sources) -> str:
    """Return the explanation that stands below the table."""
    return NOTE.format(
        not_at_hand=NOT_AT_HAND,
        columns=COLUMNS_NOTE,
        hole=HOLE,
        binarisation=sources.info.binarisation or "none, values are used as they are",
    )
