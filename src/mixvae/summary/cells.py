"""Computes the numbers in the cells of tables, means over the seeds of a group of runs, and says where they come from."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mixvae.files import read_json
from mixvae.study import DatasetInfo, Run
from mixvae.study.jobs import record_of, run_file
from mixvae.study.metrics import BITS, better_end, factor, made_from, metric_of
from mixvae.summary.groups import Group, Groups, groups_of
from mixvae.summary.results import REPORTED, StudyRuns
from mixvae.summary.statistics import over_seeds

LIKELIHOODS = ("-elbo", "nll_ais", "nll_matched", "nll_miselbo", "nll")
"""The quantities of tables that have a value for every test point; for all of them, lower is better."""
COMPARABLE = tuple(name for name in LIKELIHOODS if metric_of(name).compares_K)
UNRELIABLE_SHARE = 0.1
"""An importance-weighted likelihood is marked if this share of the test points or more have Pareto k above 0.7."""
MC_ERROR, AIS_GAP = 0.05, 0.1
"""An estimate is marked if it is more than the first, in nats, above the lowest one of the same points, since all are too high in
expectation; an annealed one also if its Monte Carlo error is, or if the bounds from both directions are further apart than the
second, on points that the model simulates."""
NOT_MEASURED, UNDEFINED = "not measured", "undefined"
ORIGIN = ["group", "made_from", "factor", "runs", "compared"]
"""Columns of every table that say where a cell comes from."""
COLUMNS = [
    "metric", "K", "column", "mean", "sd", "low", "high", "interval", "delta", "delta_low", "delta_high", "seeds", "expected",
    "unreliable", "stopped_by_budget", "best", "unmeasured", *ORIGIN,
]  # fmt: skip
"""Columns of a table of means over seeds, with a row per cell."""


class Pointwise(NamedTuple):
    """Values at N test points, (N,); `which` is N and the sha256 of the data: as many points of the same data are the same."""

    which: tuple[int, str | None]
    values: np.ndarray


@dataclass(frozen=True, eq=False)
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

    @property
    def keys(self) -> list[str]:
        """The keys of the groups in the order of the study's runs."""
        specs = self.study.runs.values()
        return list(dict.fromkeys(spec.group for spec in specs if spec.dataset == self.dataset and not spec.is_control))

    @cached_property
    def values(self) -> Mapping[str, Mapping[str, tuple[float, str]]]:
        """The metrics of the complete runs, {run: {metric: (value, unit)}}."""
        by_run = self.metrics.groupby("run")
        return {run: dict(zip(rows.metric, zip(rows.value, rows.unit, strict=True), strict=True)) for run, rows in by_run}

    def numbers(self, runs: Iterable[str], metric: str) -> list[float]:
        """Return the values of a metric for those of the runs that have one."""
        found = [self.values[run].get(metric, (math.nan, ""))[0] for run in runs if run in self.values]
        return [value for value in found if not math.isnan(value)]

    def unreliable(self, runs: Iterable[str], quantity: str, against: Iterable[str] = ()) -> bool:
        """Return whether an estimate of the likelihood is doubtful, or the difference of two.

        An estimate is judged by the lowest one of the same points where every run was annealed, and the annealed one by its own
        errors, too; else by the share of test points at which its weights are heavy-tailed.
        """
        sides = [[run for run in side if run in self.values] for side in (runs, against)]
        annealed = [[run for run in side if run in self.mc_errors] for side in sides]
        metric = metric_of(quantity)
        if not sides[0]:
            return False
        if metric.name == REPORTED[0]:
            errors = [np.hypot.reduce([self.mc_errors[run] for run in side]) / len(side) for side in annealed if side]
            apart = [np.mean(gaps) for side in annealed if (gaps := self.numbers(side, "ais_gap"))]
            # written so that an error that is no number counts as too large
            if not np.hypot.reduce(errors) <= MC_ERROR or any(gap > AIS_GAP for gap in apart):
                return True
            estimate = metric.name
        elif not metric.rests_on:
            return False
        elif annealed == sides:
            # the estimate that rests on the same weights and tends to -log p(x)
            estimate = "nll_matched" if "matched" in metric.rests_on else "nll"
        else:
            return any(np.mean(self.numbers(side, metric.rests_on)) >= UNRELIABLE_SHARE for side in sides if side)
        return any(np.mean([self._above_lowest[run][estimate] for run in side]) > MC_ERROR for side in annealed if side)

    @cached_property
    def mc_errors(self) -> Mapping[str, float]:
        """The Monte Carlo errors of the annealed likelihoods of those runs that have one."""
        rows = self.metrics[(self.metrics.metric == REPORTED[0]) & self.metrics.value.notna()]
        return dict(zip(rows.run, rows.mc_error, strict=True))

    @cached_property
    def _above_lowest(self) -> Mapping[str, Mapping[str, float]]:
        """By how many nats each estimate of an annealed run is above the lowest one, at the annealed points."""
        found = {}
        for run in self.mc_errors:
            known = {name: value for name, (value, _) in self.values[run].items()}
            above = {name: known[f"{name}_excess"] for name in ("nll", "nll_matched")} | {REPORTED[0]: 0.0}
            # the adapted estimate is of the annealed points, too, where it is measured
            lowest = np.nanmin([*above.values(), known.get("nll_adaptive", math.nan) - known[REPORTED[0]]])
            found[run] = {name: float(value - lowest) for name, value in above.items()}
        return found

    def stopped(self, runs: Iterable[str]) -> bool:
        """Return whether the training of any of the runs ended with its epochs, before it stopped improving."""
        return any(self.numbers(runs, "stopped_by_budget"))

    def pointwise(self, run: str) -> dict[str, Pointwise]:
        """Return a run's likelihoods by metric, with the points that they are of."""
        spec, folder = self.study.runs[run], self.runs / run
        read = read_json(record_of("evaluate", spec, folder))["inputs"]
        data = next((digest for name, digest in read.items() if Path(name).name == "data.npz"), None)
        found = {}
        for file in ("pointwise.npz", *["bracket.npz"] * (run in self.mc_errors)):
            with np.load(run_file(file, spec, folder), allow_pickle=False) as arrays:
                for name in {made_from(name) for name in LIKELIHOODS} & set(arrays.files):
                    found[name] = Pointwise((len(arrays[name]), data), arrays[name])
        return found

    def by_seed(self, group: Group) -> dict[int, dict[str, Pointwise]]:
        """Return the likelihoods of a group's complete runs by seed and metric."""
        return {self.study.runs[run].seed: self.pointwise(run) for run in group.runs if run not in self.missing}


def points_of(values: Iterable[Pointwise | None]) -> tuple[int, str | None] | None:
    """Return the points that all of these values are of; None if these differ, or if values are missing."""
    which = {run and run.which for run in values}
    return which.pop() if len(which) == 1 else None


def likelihoods(info: DatasetInfo) -> tuple[str, ...]:
    """Return the likelihoods shown for a data set; for colour images, those that compare K also in bits per dimension."""
    return LIKELIHOODS + tuple(f"{name}{BITS}" for name in COMPARABLE if info.kind == "colour_image")


def applies(spec: Run, quantity: str, info: DatasetInfo) -> bool:
    """Return whether a quantity is shown for a run on a data set."""
    if quantity.endswith(BITS):  # a density on [0, 1] is no probability of levels, so its bits are not those that are published
        return spec.likelihood.discrete
    if quantity == "jsd" and not spec.posterior_is_mixture:
        return False
    return metric_of(quantity).who(spec, info)


def origin(sources: Sources, group: Group, quantity: str, compared: Iterable[str] = ()) -> dict[str, Any]:
    """Return what names a quantity of a group, and where it comes from: `factor` times the mean over `runs` of `made_from`.

    A difference is to the mean over the runs `compared`.
    """
    metric, scale = made_from(quantity), factor(quantity, sources.info)
    found = {"metric": quantity, "K": group.K, "column": group.column, "group": group.key, "made_from": metric, "factor": scale}
    return found | {"runs": " ".join(group.runs), "compared": " ".join(compared)}


def marked(sources: Sources, group: Group, quantity: str, compared: Iterable[str] = ()) -> dict[str, Any]:
    """Return `origin` of a likelihood with what it is of, and the marks that warn of it."""
    return origin(sources, group, quantity, compared) | {
        "measure": group.spec.likelihood.measure,
        "unreliable": sources.unreliable(group.runs, quantity, compared),
        "stopped_by_budget": sources.stopped([*group.runs, *compared]),
    }


def cell(sources: Sources, group: Group, quantity: str, **more: Any) -> dict[str, Any]:
    """Return the row of a quantity's mean over the seeds of a group; `more` are further columns, and others than the usual.

    Where no seed has a value, `unmeasured` says why: "not measured: ..." or "undefined"; None means that the runs are missing.
    """
    row = origin(sources, group, quantity)
    found = [row["factor"] * value for value in sources.numbers(group.runs, row["made_from"])]
    row |= {"seeds": len(found), "expected": len(group.runs), "unmeasured": None}
    if found:
        row |= zip(("mean", "sd", "low", "high", "interval"), over_seeds(np.array(found)), strict=True)
    elif there := [sources.values[run].get(row["made_from"], (math.nan, "")) for run in group.runs if run in sources.values]:
        row["unmeasured"] = next((unit for _, unit in there if str(unit).startswith(NOT_MEASURED)), UNDEFINED)
    return row | more


def cells(
    sources: Sources, quantities: Iterable[str], stopped: bool = True, judged_by: Mapping[str, str] | None = None, **ends: str
) -> pd.DataFrame:
    """Return one row per quantity and group of runs that can have it, with COLUMNS, and say which are best.

    A quantity that is undefined for all groups is left out.

    Arguments:
        stopped: Whether to say for every cell if the training of any of its runs ended with its epochs.
        judged_by: The likelihoods by which quantities are doubtful; no doubtful cell is best. None if none is ever doubtful.
        ends: See `best`.
    """
    rows = []
    for name in quantities:
        found = [cell(sources, group, name) for group in sources.groups.values() if applies(group.spec, name, sources.info)]
        if any(row["seeds"] or row["unmeasured"] != UNDEFINED for row in found):
            rows += found
    frame = frame_of(rows)
    if stopped:
        frame["stopped_by_budget"] = [sources.stopped(runs.split()) for runs in frame.runs]
    frame["best"] = best(frame, **ends)
    if judged_by is not None:
        frame["unreliable"] = [
            name in judged_by and sources.unreliable(runs.split(), judged_by[name])
            for name, runs in zip(frame.metric, frame.runs, strict=True)
        ]
        frame["best"] &= ~frame.unreliable
    return frame


def frame_of(rows: list[dict[str, Any]], columns: Iterable[str] = COLUMNS) -> pd.DataFrame:
    """Return rows as a table of means over seeds."""
    return pd.DataFrame(rows, columns=list(columns)).astype(dict.fromkeys(("K", "seeds", "expected"), "Int64"))


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
