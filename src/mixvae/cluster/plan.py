"""The command `make plan`: estimates jobs, hours, memory and disk space of a study from finished runs, before it starts."""

import os
from collections.abc import Set
from pathlib import Path

import pandas as pd

from mixvae import own
from mixvae.cluster.costs.estimates import estimate
from mixvae.cluster.costs.measurements import REFERENCE, measure, read_table, write_table
from mixvae.cluster.costs.work import kind_of, work_of
from mixvae.errors import UserError
from mixvae.progress import Progress
from mixvae.study import Expansion, find_config, load
from mixvae.study.jobs import RUN_FILES, JobKey, all_jobs
from mixvae.study.overview import describe
from mixvae.study.place import CONFIGS, RESULTS
from mixvae.study.rules import listing

HOUR = 3600.0
THIN, FAR, MISSED = 3, 10.0, 2.0
"""Warnings are given for fewer measurements, for steps so many times larger than any measured, and for fits so far off."""
NEGLIGIBLE = 0.005
"""No warning is given for a smaller share of the hours."""


def record_costs(path: Path) -> None:
    """Write the costs of finished runs as a table, such as results/reference/costs.csv. Raises UserError if there are none."""
    measured, unread = measure(RESULTS)
    if measured.empty:
        raise UserError(f"{RESULTS}/runs: no finished run to record; run a study first, e.g. make ablation")
    rows = write_table(measured, path)
    print(f"{path}: {rows} rows from {len(measured)} finished jobs; {unread} runs could not be read")


def print_plan(name: str, cores: int | None, jobs: int | None) -> None:
    """Print the plan of a study, for cores of this machine (None for all), or for so many jobs at a time on a cluster.

    Raises UserError for a bad config, and when there is nothing to estimate from.
    """
    for option, value in (("cores", cores), ("jobs", jobs)):
        if value is not None and value < 1:
            raise UserError(f"--{option}: found {value}, expected a number from 1")
    path = find_config(name, CONFIGS)
    expansion = load(path)
    print(f"{path}: {describe(expansion)}\n", flush=True)
    runs = pd.DataFrame([(spec.dataset, spec.model) for spec in expansion.runs.values()], columns=["dataset", "model"])
    print(pd.crosstab(runs.dataset, runs.model, margins=True, margins_name="total").to_string() + "\n", flush=True)
    every = jobs_of(expansion)
    counts = every.groupby("rule", sort=False, as_index=False).agg(jobs=("to_do", "size"), to_do=("to_do", "sum"))
    counts.insert(2, "finished", counts.jobs - counts.to_do)
    counts.loc[len(counts)] = ["total", *counts.iloc[:, 1:].sum()]
    print(counts.rename(columns={"to_do": "to do"}).to_string(index=False) + "\n", flush=True)
    to_do = int(counts.to_do.iloc[-1])
    waiting = set(zip(every.rule[every.to_do], every.name[every.to_do], strict=True))
    if not to_do:
        print("everything is there: nothing to do")
        return
    if not any(rule in RUN_FILES for rule, _ in waiting):
        print(f"all runs are finished; {to_do} jobs to do, which take minutes")
        return
    table = estimates(expansion, waiting)
    _print_hours(table)
    _print_bases(table)
    _print_summary(table, len(expansion.runs), to_do, cores or os.cpu_count() or 1, jobs)


def jobs_of(expansion: Expansion) -> pd.DataFrame:
    """Return a row per job: rule, name, and to_do, whether a file is missing, an earlier job is to do, or the study is another.

    Snakemake also does again what was made from other inputs or by other code.
    """
    written = listing(expansion)
    rows: list[tuple[str, str, bool]] = []
    to_make: set[Path] = set()
    for job in all_jobs(expansion.study.study, expansion.runs, expansion.datasets, RESULTS):
        to_do = not to_make.isdisjoint(job.inputs) or not all(file.is_file() for file in job.files)
        to_do = to_do or (job.rule == "study" and job.files[0].read_text() != written)
        to_make.update(job.files if to_do else ())
        rows.append((*job.key, to_do))
    return pd.DataFrame([*rows, ("all", expansion.study.study, bool(to_make))], columns=["rule", "name", "to_do"])


def estimates(expansion: Expansion, waiting: Set[JobKey]) -> pd.DataFrame:
    """Return a row per job of a run that is to do: run, dataset, its kind and work, and the columns of `estimate`."""
    own.offer(own.STORE)
    here, _ = measure(RESULTS)
    reference = read_table(REFERENCE) if REFERENCE.is_file() else pd.DataFrame()
    finished = [table for table in (here, reference) if not table.empty]
    if not finished:
        raise UserError(
            f"nothing to estimate hours from: no finished run in {RESULTS}/runs and no {REFERENCE}; run a study first, "
            "e.g. make ablation"
        )
    rows = []
    progress = Progress(len(expansion.runs), "run counted")
    for run, spec in expansion.runs.items():
        info = expansion.datasets[spec.dataset]
        work = work_of(spec, info) if any((rule, run) in waiting for rule in RUN_FILES) else {}
        for rule in [rule for rule in work if (rule, run) in waiting]:
            max_epochs = spec.training.epochs if rule == "train" and not spec.is_control else 0
            about = {"run": run, "dataset": spec.dataset, "max_epochs": max_epochs}
            rows.append(about | kind_of(rule, spec, info, expansion.study.gpu) | work[rule]._asdict())
        progress.step()
    jobs = pd.DataFrame(rows)
    table = jobs.join(estimate(jobs, pd.concat(finished, ignore_index=True)))
    # with the share of the epochs that earlier runs have used, or all epochs if that is unknown
    table["likely"] = table.start_up + (table.seconds - table.start_up) * table.epochs_share.fillna(1.0)
    table["hours"] = table.seconds * table.threads / HOUR
    return table


def _print_hours(table: pd.DataFrame) -> None:
    """Print CPU-hours by data set, model and rule."""
    by = ["dataset", "model"]
    shown = table.pivot_table("hours", by, "rule", "sum", fill_value=0.0)
    shown = shown[[rule for rule in RUN_FILES if rule in shown]]
    shown["total"] = shown.sum(axis=1)
    shown["likely"] = (table.likely * table.threads / HOUR).groupby([table.dataset, table.model]).sum()
    share = table[table.max_epochs > 0].groupby(by).epochs_share.median().map("{:.0%}".format, na_action="ignore")
    shown.insert(0, "epochs used", share)
    shown["epochs used"] = shown["epochs used"].fillna("unknown")
    shown["longest run"] = table.groupby([*by, "run"]).seconds.sum().groupby(level=by).max() / HOUR
    shown["GB per job"] = table.groupby(by).memory_mb.max() / 1000
    shown.loc[("all", ""), :] = ["", *shown.iloc[:, 1:-2].sum(), *shown.iloc[:, -2:].max()]
    print(
        "CPU-hours of what is to do, with all epochs; likely: with the share of them that earlier runs of the model used before they"
    )
    print("stopped, where it is known; longest run: hours by the clock")
    print(shown.reset_index().rename_axis(columns=None).to_string(index=False, float_format=_number) + "\n", flush=True)


def _print_bases(table: pd.DataFrame) -> None:
    """Print which finished jobs the hours are estimated from, and warn of hours that rest on little."""
    shown = table.groupby(["rule", "basis"], sort=False).agg(
        jobs=("run", "size"),
        hours=("hours", "sum"),
        measurements=("rows", "min"),
        spread=("spread", "max"),
        reach=("reach", "max"),
    )
    everything = table.hours.sum()
    shown.insert(2, "share", (100 * shown.hours / everything).map("{:.0f} %".format))
    print(
        "basis: the finished jobs that the estimates come from; measurements: the fewest for any job; spread: the factor by which"
    )
    print("the fit misses the worst of them; reach: floating point operations per step relative to the largest measured")
    print(shown.reset_index().to_string(index=False, float_format=_number) + "\n")
    fitted = ~table.basis.str.startswith("measured")
    doubts = {
        f"rest on fewer than {THIN} finished jobs": fitted & (table.rows < THIN),
        f"have steps over {FAR:.0f} times larger than any measured": table.reach > FAR,
        f"come from a fit that is off by more than {MISSED:.0f} times somewhere": fitted & (table.spread > MISSED),
        "come from runs of other networks": table.basis.str.startswith(("other", "same model,", "same networks")),
        "come from another kind of device": table.basis.str.endswith("other device"),
        "come from the reference table, so perhaps from another machine": table.basis.str.contains("reference"),
    }
    for text, doubtful in doubts.items():
        share = table.hours[doubtful].sum() / everything
        if share >= NEGLIGIBLE:
            print(f"warning: {share:.0%} of the hours ({doubtful.sum()} jobs) {text}")
    print()


def _print_summary(table: pd.DataFrame, runs: int, to_do: int, cores: int, jobs: int | None) -> None:
    """Print the longest run, memory, disk space, and everything in one line."""
    by_run = table.groupby("run").seconds.sum()
    longest, largest = by_run.idxmax(), table.loc[table.memory_mb.idxmax()]
    most, typical = largest.memory_mb / 1000, table.memory_mb.median() / 1000
    print(f"longest run: {longest}, up to {_hours(by_run[longest])}")
    print(f"memory: {most:.1f} GB for {largest.rule} of {largest.run}, typically {typical:.1f} GB")
    print(f"disk: about {_number(table.disk_mb.sum() / 1000)} GB for what the runs leave, raw data and figures apart\n")
    upper, likely = (wall_seconds(table.assign(seconds=seconds), cores, jobs) for seconds in (table.seconds, table.likely))
    print(
        f"{runs} runs, {to_do} jobs to do, about {_hours(likely)} on {f'{jobs} jobs at a time' if jobs else f'{cores} cores'} "
        f"(upper bound, with all epochs: {_hours(upper)}, {_number(table.hours.sum())} CPU-hours), up to {most:.1f} GB per job"
    )


def wall_seconds(table: pd.DataFrame, cores: int, jobs: int | None) -> float:
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
