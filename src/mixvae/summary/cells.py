"""The numbers in the cells of tables: means over the seeds of a group of runs, and paired differences between two groups."""

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mixvae.files import read_json
from mixvae.study import AnyRun, DatasetInfo
from mixvae.study.metrics import BITS, better_end, factor, made_from, metric_of
from mixvae.summary.columns import column_names
from mixvae.summary.results import StudyRuns
from mixvae.summary.statistics import over_seeds, paired

LIKELIHOODS = ("-elbo", "nll_miselbo", "nll", "nll_matched")
"""The quantities of tables that have a value for every test point; for all of them, lower is better."""
COMPARABLE = tuple(name for name in LIKELIHOODS if metric_of(name).compares_K)
UNRELIABLE_SHARE = 0.1
"""An importance-weighted likelihood is marked if this share of the test points or more have Pareto k above 0.7."""
NOT_MEASURED, UNDEFINED = "not measured", "undefined"
ORIGIN = ["group", "made_from", "factor", "runs", "compared"]
"""Columns of every table that say where a cell comes from, see `origin`."""
COLUMNS = [
    "metric", "K", "column", "mean", "sd", "low", "high", "interval", "delta", "delta_low", "delta_high", "seeds", "expected",
    "unreliable", "stopped_by_budget", "best", "unmeasured", *ORIGIN,
]  # fmt: skip
"""Columns of a table of means over seeds, with a row per cell."""

Values = Mapping[str, Mapping[str, tuple[float, str]]]
"""{run: {metric: (value, unit)}}."""


class Group(NamedTuple):
    """The runs that a cell summarises: they differ in nothing but the seed.

    key: `spec.group`, which the runs of other K in the same column share.
    column: The name of that column.
    """

    key: str
    K: int
    column: str
    runs: list[str]
    spec: AnyRun

    @property
    def text(self) -> str:
        """The group's name in notes."""
        return f"{self.column}, K = {self.K}"


Groups = dict[tuple[int, str], Group]
"""Groups by (K, key), in order of K."""


def groups_of(study: StudyRuns, dataset: str) -> Groups:
    """Return the groups of a data set's runs, without the controls."""
    groups: Groups = {}
    for run, column in column_names(study, dataset).items():
        spec = study.runs[run]
        groups.setdefault((spec.K, spec.group), Group(spec.group, spec.K, column, [], spec)).runs.append(run)
    return dict(sorted(groups.items(), key=lambda item: item[0][0]))


def next_smaller(cells: Iterable[tuple[int, str]]) -> dict[tuple[int, str], int]:
    """Return for every cell (K, key) the next smaller K of its key, where it has one; cells come in order of K."""
    found, last = {}, {}
    for K, key in cells:
        if key in last:
            found[K, key] = last[key]
        last[key] = K
    return found


def pairs(cells: Collection[tuple[int, str]]) -> list[tuple[int, int, str]]:
    """Return the pairs to compare, (K, against, key): every K against K = 1 and the next smaller K, where its key has them."""
    return [
        (K, against, key)
        for (K, key), smaller in next_smaller(cells).items()
        for against in dict.fromkeys((1, smaller))
        if (against, key) in cells
    ]


@dataclass(frozen=True)
class Sources:
    """What the tables on one data set are made from.

    metrics: The study's tidy metrics.
    runs: The folder of all runs.
    missing: Runs that are not complete.
    published: The rows of config/published.csv.
    """

    study: StudyRuns
    dataset: str
    metrics: pd.DataFrame
    runs: Path
    missing: Collection[str] = ()
    published: list[dict[str, str]] = field(default_factory=list)

    @property
    def info(self) -> DatasetInfo:
        """The description of the data set."""
        return self.study.datasets[self.dataset]

    @cached_property
    def groups(self) -> Groups:
        """The groups of the data set's runs."""
        return groups_of(self.study, self.dataset)

    @cached_property
    def keys(self) -> list[str]:
        """The keys of the groups in the order of the study's runs."""
        place = {run: number for number, run in enumerate(self.study.runs)}
        return list(dict.fromkeys(group.key for group in sorted(self.groups.values(), key=lambda group: place[group.runs[0]])))

    @cached_property
    def values(self) -> Values:
        """The metrics of the complete runs."""
        values: dict[str, dict[str, tuple[float, str]]] = {}
        for run, metric, value, unit in self.metrics[["run", "metric", "value", "unit"]].itertuples(index=False, name=None):
            values.setdefault(run, {})[metric] = (value, unit)
        return values

    def numbers(self, runs: Iterable[str], metric: str) -> list[float]:
        """Return the values of a metric for those of the runs that have one."""
        found = [self.values[run].get(metric, (math.nan, ""))[0] for run in runs if run in self.values]
        return [value for value in found if not math.isnan(value)]

    def unreliable(self, runs: Iterable[str], quantity: str) -> bool:
        """Return whether an estimate rests on heavy-tailed weights at too many test points, on average over the runs."""
        shares = self.numbers(runs, metric_of(quantity).rests_on)
        return bool(shares) and bool(np.mean(shares) >= UNRELIABLE_SHARE)

    def stopped(self, runs: Iterable[str]) -> bool:
        """Return whether the training of any of the runs ended with its epochs, before it stopped improving."""
        return any(self.numbers(runs, "stopped_by_budget"))

    @cached_property
    def differences(self) -> pd.DataFrame:
        """The paired differences of K to smaller K, see `differences`; tables of likelihoods and of differences share them."""
        return pd.DataFrame(differences(self), columns=[*DIFFERENCE])


DIFFERENCE = (
    "metric", "column", "K", "against", "step", "measure", "delta", "low", "high", "p", "points", "seeds",
    "seed_low", "seed_high", "seed_kind", "unreliable", "stopped_by_budget", *ORIGIN,
)  # fmt: skip


def likelihoods(info: DatasetInfo) -> tuple[str, ...]:
    """Return the likelihoods shown for a data set; for colour images, those that compare K also in bits per dimension."""
    return LIKELIHOODS + tuple(f"{name}{BITS}" for name in COMPARABLE if info.kind == "colour_image")


def applies(spec: AnyRun, quantity: str, info: DatasetInfo) -> bool:
    """Return whether a quantity is defined for a run on a data set."""
    if quantity.endswith(BITS):  # a density on [0, 1] is no probability of levels, so its bits are not those that are published
        return spec.likelihood.discrete
    return metric_of(quantity).who(spec, info)


def origin(group: str, quantity: str, info: DatasetInfo, runs: Iterable[str], compared: Iterable[str] = ()) -> dict[str, Any]:
    """Return where a cell comes from: `factor` times the mean over `runs` of a metric of metrics.csv, `made_from`.

    Arguments:
        group: The key of its group of runs.
        compared: The runs that a difference compares `runs` with.
    """
    texts = {"runs": " ".join(runs), "compared": " ".join(compared)}
    return {"group": group, "made_from": made_from(quantity), "factor": factor(quantity, info), **texts}


def summary(sources: Sources, runs: list[str], quantity: str) -> dict[str, Any]:
    """Return a quantity's mean, sd, low, high and interval over the seeds, and the numbers of seeds found and expected.

    Where no seed has a value, `unmeasured` says why: "not measured: ..." or "undefined"; None means that the runs are missing.
    """
    metric, scale = made_from(quantity), factor(quantity, sources.info)
    found = [scale * value for value in sources.numbers(runs, metric)]
    row = {"seeds": len(found), "expected": len(runs), "unmeasured": None}
    if found:
        spread = over_seeds(np.array(found))._asdict()
        return row | spread | {"interval": spread["kind"]}
    there = [sources.values[run].get(metric, (math.nan, ""))[1] for run in runs if run in sources.values]
    reasons = [unit for unit in there if str(unit).startswith(NOT_MEASURED)]
    return row | {"unmeasured": reasons[0] if reasons else UNDEFINED if there else None}


def cells(sources: Sources, quantities: Iterable[str], shown=applies) -> pd.DataFrame:
    """Return one row per quantity and group of runs that can have it, with COLUMNS.

    A quantity that is undefined for all groups is left out.

    Arguments:
        shown: The function that says whether a run has a place in the row of a quantity; its arguments are those of `applies`.
    """
    rows = []
    for name in quantities:
        found = [
            {"metric": name, "K": group.K, "column": group.column, **summary(sources, group.runs, name)}
            | origin(group.key, name, sources.info, group.runs)
            for group in sources.groups.values()
            if shown(group.spec, name, sources.info)
        ]
        if any(row["seeds"] or row["unmeasured"] != UNDEFINED for row in found):
            rows += found
    return frame_of(rows)


def frame_of(rows: list[dict[str, Any]], columns: Iterable[str] = COLUMNS) -> pd.DataFrame:
    """Return rows as a table of means over seeds."""
    return pd.DataFrame(rows, columns=list(columns)).astype(dict.fromkeys(("K", "seeds", "expected"), "Int64"))


def stopped(frame: pd.DataFrame, sources: Sources) -> list[bool]:
    """Return for every cell whether the training of any of its runs ended with its epochs, before it stopped improving."""
    return [sources.stopped(runs.split()) for runs in frame.runs]


def best(frame: pd.DataFrame, within: tuple[str, ...] = ("metric", "group"), **ends: str) -> pd.Series:
    """Return which cells are best among those they are compared with: all that print the best number, but never a lone cell.

    Arguments:
        within: The columns in which cells must agree to be compared.
        ends: The better end of the scale, "min" or "max", for metrics whose better end is not the usual one.
    """
    chosen = pd.Series(False, index=frame.index)
    for _, rows in frame.groupby(list(within), sort=False):
        name = rows.metric.iloc[0]
        metric = metric_of(name)
        end = ends.get(name, better_end(name) if metric.compares_K else None)
        printed = rows["mean"].astype(float).map(lambda mean, digits=metric.digits: round(mean, digits))
        if end and printed.notna().sum() > 1:
            chosen[rows.index] = printed == printed.agg(end)
    return chosen


def differences(sources: Sources) -> Iterator[dict[str, Any]]:
    """Yield the paired difference between K and a smaller K of a column, in a row per comparable likelihood and one of `pairs`.

    `delta` has an interval, low to high, and p over test points. seed_low, seed_high and seed_kind are the interval over the
    mean differences of the seeds; one seed has none. `step` says whether the smaller K is the next smaller. A pair has no row
    if its sides have no seed in common among the complete runs, or if its runs were evaluated on different points.
    """
    groups, info = sources.groups, sources.info
    compared = []
    for K, against, key in pairs(groups):
        sides = [
            {sources.study.runs[run].seed: run for run in groups[side, key].runs if run not in sources.missing}
            for side in (K, against)
        ]
        seeds = sorted(sides[0].keys() & sides[1].keys())
        points = [[pointwise(sources.runs / side[seed]) for seed in seeds] for side in sides]
        if len({which for which, _ in itertools.chain(*points)}) == 1:
            compared.append((groups[K, key], groups[against, key], points))
    smaller = next_smaller(groups)
    order = list(dict.fromkeys(group.key for group in groups.values()))
    compared.sort(key=lambda three: order.index(three[0].key))
    for name in (name for name in likelihoods(info) if name.removesuffix(BITS) in COMPARABLE):
        metric, scale = made_from(name), factor(name, info)
        for ours, theirs, points in compared:
            a, b = (scale * np.stack([values[metric] for _, values in side]) for side in points)
            difference, again = paired(a, b), over_seeds((a - b).mean(1))
            both = [*ours.runs, *theirs.runs]
            yield {
                "metric": name,
                "column": ours.column,
                "K": ours.K,
                "against": theirs.K,
                "step": smaller[ours.K, ours.key] == theirs.K,
                "measure": ours.spec.likelihood.measure,
                "delta": difference.mean,
                "low": difference.low,
                "high": difference.high,
                "p": difference.p,
                "points": a.shape[1],
                "seeds": len(a),
                "seed_low": again.low if len(a) > 1 else math.nan,
                "seed_high": again.high if len(a) > 1 else math.nan,
                "seed_kind": again.kind if len(a) > 1 else None,
                "unreliable": any(sources.unreliable(side.runs, name) for side in (ours, theirs)),
                "stopped_by_budget": sources.stopped(both),
                **origin(ours.key, name, info, ours.runs, theirs.runs),
            }


def pointwise(folder: Path) -> tuple[tuple[int, str | None], dict[str, np.ndarray]]:
    """Return the identity of a run's test points, (N, sha256 of the data), and its likelihoods there by metric, (N,) each.

    As many points of the same prepared data are the same points in the same order. The evaluation's record has the sha256.
    """
    read = read_json(folder / "provenance/evaluate.json")["inputs"]
    data = next((digest for name, digest in read.items() if Path(name).name == "data.npz"), None)
    with np.load(folder / "pointwise.npz", allow_pickle=False) as file:
        values = {made_from(name): file[made_from(name)] for name in LIKELIHOODS}
    return (len(values["elbo"]), data), values
