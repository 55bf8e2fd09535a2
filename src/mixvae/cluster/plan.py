"""The command `make plan`: jobs, hours, memory and disk space of a study, from what finished runs took, before anything starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mixvae.errors import UserError
from mixvae.study import Expansion, find_config, load
from mixvae.study.listing import describe
from mixvae.study.place import CONFIGS, RESULTS
from mixvae.study.steps import steps

HOUR = 3600.0
THIN, FAR, MISSED = 3, 10.0, 2.0
"""Fewer measurements, work per step so many times the largest measured, or a fit so far off deserve a warning."""
NEGLIGIBLE = 0.005
"""The share of the hours below which nothing is warned of."""


def record_costs(path: Path) -> None:
    """Write results/reference/costs.csv, or a table like it."""
    from mixvae.cluster import costs

    measurements, unread = costs.measure(RESULTS, costs.Counter())
    if not measurements:
        raise UserError(f"{RESULTS}/runs: no finished run to record; run a study first, e.g. make ablation")
    rows = costs.write_table(measurements, path)
    print(f"{path}: {rows} rows from {len(measurements)} finished jobs; {unread} runs could not be read")


def print_plan(name: str, cores: int | None, jobs: int | None) -> None:
    """Print the plan of a study for so many cores of this machine, by default all, or so many jobs at a time on a cluster."""
    for option, value in (("cores", cores), ("jobs", jobs)):
        if value is not None and value < 1:
            raise UserError(f"--{option}: found {value}, expected a number from 1")
    path = find_config(name, CONFIGS)
    expansion = load(path)
    print(f"{path}: {describe(expansion)}\n", flush=True)
    total, todo = waiting(expansion)

    import pandas as pd

    runs = pd.DataFrame([(spec.dataset, spec.model) for spec in expansion.runs.values()], columns=["dataset", "model"])
    print(pd.crosstab(runs.dataset, runs.model, margins=True, margins_name="total").to_string() + "\n", flush=True)
    counts = pd.DataFrame(
        [(rule, total[rule], total[rule] - len(todo[rule]), len(todo[rule])) for rule in total],
        columns=["rule", "jobs", "finished", "to do"],
    )
    counts.loc[len(counts)] = ["total", *counts[["jobs", "finished", "to do"]].sum()]
    print(counts.to_string(index=False) + "\n", flush=True)
    if not any(todo.values()):
        print("everything is there: nothing to do")
        return
    if not (todo["train"] or todo["evaluate"] or todo["latents"]):
        print(f"all runs are finished; {counts['to do'].iloc[-1]} jobs to do, which take minutes")
        return
    table = estimates(expansion, todo)
    print_hours(table)
    print_bases(table)
    print_summary(table, expansion, len(todo["train"]), int(counts["to do"].iloc[-1]), cores, jobs)


def waiting(expansion: Expansion) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Return the number of jobs of every rule, and by rule what is not done: a file is not there, or a job before is not done.

    Snakemake also does again what was made from other inputs or parameters.
    """
    total: dict[str, int] = {}
    todo: dict[str, list[str]] = {}
    made: set[Path] = set()  # by jobs that are to do
    for step in steps(expansion.study.study, expansion.runs, expansion.datasets, RESULTS):
        total[step.rule] = total.get(step.rule, 0) + 1
        todo.setdefault(step.rule, [])
        if not made.isdisjoint(step.inputs) or not all(file.is_file() for file in step.files):
            todo[step.rule].append(step.name)
            made.update(step.files)
    total["all"], todo["all"] = 1, [expansion.study.study] * any(todo.values())
    return total, todo


def estimates(expansion: Expansion, todo: Mapping[str, list[str]]):
    """Return a table with one row per job of a run that is to do."""
    import pandas as pd

    from mixvae.cluster import costs
    from mixvae.progress import Progress

    counter = costs.Counter()
    reference = costs.read_table(costs.REFERENCE) if costs.REFERENCE.is_file() else []
    here, _ = costs.measure(RESULTS, counter)
    if not here and not reference:
        raise UserError(
            f"nothing to estimate hours from: no finished run in {RESULTS}/runs and no {costs.REFERENCE}; run a study first, "
            "e.g. make ablation"
        )
    model = costs.Model([*here, *reference])
    rows = []
    progress = Progress(len(expansion.runs), "run counted")
    for run, spec in expansion.runs.items():
        info = expansion.datasets[spec.dataset]
        stages = [stage for stage in costs.STAGES if run in todo[stage]]
        for stage, work in counter.work(spec, info).items() if stages else ():
            if stage in stages:
                max_epochs = spec.training.epochs if stage == "train" and not spec.is_control else 0
                estimate = model.estimate(costs.kind(stage, spec, info, expansion.study.gpu), work, max_epochs)
                rows.append({"run": run, "dataset": spec.dataset, "model": spec.model, "threads": spec.threads, "stage": stage}
                            | estimate._asdict())  # fmt: skip
        progress.step()
    return pd.DataFrame(rows).astype({"epochs_share": float})


def print_hours(table) -> None:
    """Print CPU-hours by data set, model and rule."""
    hours = table.assign(hours=table.seconds * table.threads / HOUR, likely=likely_seconds(table) * table.threads / HOUR)
    shown = hours.pivot_table("hours", ["dataset", "model"], "stage", "sum", fill_value=0.0)
    shown = shown.reindex(columns=[stage for stage in ("train", "evaluate", "latents") if stage in shown])
    shown["total"] = shown.sum(axis=1)
    groups = hours.groupby(["dataset", "model"])
    shown["likely"] = groups.likely.sum()
    training = hours[(hours.stage == "train") & (hours.model != "constant")].groupby(["dataset", "model"])
    shown.insert(0, "epochs used", training.epochs_share.median().map("{:.0%}".format, na_action="ignore"))
    shown["epochs used"] = shown["epochs used"].fillna("unknown")
    shown["longest run"] = (
        hours.assign(h=hours.seconds / HOUR).groupby(["dataset", "model", "run"]).h.sum().groupby(level=[0, 1]).max()
    )
    shown["GB per job"] = groups.memory_mb.max() / 1000
    shown.loc[("all", ""), :] = ["", *shown.iloc[:, 1:-2].sum(), *shown.iloc[:, -2:].max()]
    print(
        "CPU-hours of what is to do, with all epochs; likely: with the share of them that earlier runs of the model used before they"
    )
    print("stopped, where it is known; longest run: hours by the clock")
    print(shown.reset_index().rename_axis(columns=None).to_string(index=False, float_format=_number) + "\n", flush=True)


def likely_seconds(table):
    """Return the jobs' seconds with the share of the epochs that earlier runs have used; with all where that is unknown."""
    return table.start_up + (table.seconds - table.start_up) * table.epochs_share.fillna(1.0)


def print_bases(table) -> None:
    """Print what the hours rest on, and where that is little."""
    hours = table.assign(hours=table.seconds * table.threads / HOUR)
    shown = hours.groupby(["stage", "basis"], sort=False).agg(
        jobs=("run", "size"),
        hours=("hours", "sum"),
        measurements=("rows", "min"),
        spread=("spread", "max"),
        reach=("reach", "max"),
    )
    shown.insert(2, "share", (100 * shown.hours / hours.hours.sum()).map("{:.0f} %".format))
    print(
        "basis: the finished jobs that the estimates come from; measurements: the fewest for any job; spread: the factor by which"
    )
    print("the fit misses the worst of them; reach: floating point operations per step relative to the largest measured")
    print(shown.reset_index().to_string(index=False, float_format=_number) + "\n")
    fitted = ~hours.basis.str.startswith("measured")
    doubts = {
        f"rest on fewer than {THIN} finished jobs": fitted & (hours.rows < THIN),
        f"have steps over {FAR:.0f} times larger than any measured": hours.reach > FAR,
        f"come from a fit that is off by more than {MISSED:.0f} times somewhere": fitted & (hours.spread > MISSED),
        "come from runs of other networks": hours.basis.str.startswith(("other", "same model,", "same networks")),
        "come from another kind of device": hours.basis.str.endswith("other device"),
        "come from the reference table, so perhaps from another machine": hours.basis.str.contains("reference"),
    }
    for text, doubtful in doubts.items():
        share = hours.hours[doubtful].sum() / hours.hours.sum()
        if share >= NEGLIGIBLE:
            print(f"warning: {share:.0%} of the hours ({doubtful.sum()} jobs) {text}")
    print()


def print_summary(table, expansion: Expansion, runs: int, todo: int, cores: int | None, jobs: int | None) -> None:
    """Print the longest run, memory, disk space, and everything in one line."""
    by_run = table.groupby("run").seconds.sum()
    longest = by_run.idxmax()
    print(f"longest run: {longest}, up to {_hours(by_run[longest])}")
    largest = table.loc[table.memory_mb.idxmax()]
    print(
        f"memory: {largest.memory_mb / 1000:.1f} GB for {largest.stage} of {largest.run}, typically {table.memory_mb.median() / 1000:.1f} GB"
    )
    print(f"disk: about {_number(table.disk_mb.sum() / 1000)} GB for what the runs leave, raw data and figures apart\n")
    cores = cores or os.cpu_count() or 1
    where = f"{jobs} jobs at a time" if jobs else f"{cores} cores"
    upper, likely = (
        wall_seconds(table.assign(seconds=seconds), cores, jobs) for seconds in (table.seconds, likely_seconds(table))
    )
    cpu = (table.seconds * table.threads).sum()
    print(
        f"{len(expansion.runs)} runs, {todo} jobs to do, about {_hours(likely)} on {where} (upper bound, with all epochs: "
        f"{_hours(upper)}, {_number(cpu / HOUR)} CPU-hours), up to {largest.memory_mb / 1000:.1f} GB per job"
    )


def wall_seconds(table, cores: int, jobs: int | None) -> float:
    """Return the time from start to end: the work shared out evenly, or the longest run where that is longer.

    A job takes its threads of the cores; with more threads than cores it takes all of them, for longer.
    """
    if jobs:
        return max(table.seconds.sum() / jobs, table.groupby("run").seconds.sum().max())
    at_a_time = (cores // table.threads).where(table.threads <= cores, cores / table.threads)
    slowed = table.seconds * (table.threads / cores).clip(lower=1.0)
    return max((table.seconds / at_a_time).sum(), slowed.groupby(table.run).sum().max())


def _hours(seconds: float) -> str:
    return f"{_number(seconds / HOUR)} h" if seconds >= HOUR else f"{_number(seconds / 60)} min"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2g}"
