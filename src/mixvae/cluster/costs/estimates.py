"""Estimates the time and memory of jobs from the finished jobs most like them; seconds = start-up + a units + b work."""

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from mixvae.cluster.costs.work import KIND
from mixvae.errors import UserError
from mixvae.study.run import MODELS

COMPARABLE_EPOCHS = 0.5
"""A run that was allowed fewer than this share of another's epochs does not tell when the other would stop early."""
MOST_START_UP = 0.9
"""The largest share of a job that is taken for start-up if that was not measured."""
MEASURED = {"measured": ["signature"]}
NETWORKS = ["encoder", "decoder"]
NEAR = MEASURED | {"same model and networks": ["model", *NETWORKS]}
FAR = {"same networks": NETWORKS, "same model": ["model"], "other": []}
NEAR_FOR_LATENTS = MEASURED | {"all latents": []}
"""By name of the basis, what a finished job must have in common with one that is estimated from it, nearest first. Seconds per
operation depend on the kind of layers, but those of probes do not depend on any network."""


def estimate(jobs: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Return what each job will cost, with the index of `jobs` and the columns

    seconds: its time if it trains all epochs that are allowed; its work begins after `start_up` seconds;
    epochs_share: the share of their epochs that runs of the model have used before they stopped early; NaN if unknown;
    memory_mb: the most memory that it needs;
    basis: what the measurements have in common with the job, and whether they come from the reference table or another device;
    rows: how many measurements there are;
    spread: the factor by which the fit misses the worst of them;
    reach: the work per unit, relative to the largest measured.

    Arguments:
        jobs: The columns of KIND and of Work, and max_epochs, the epochs that training allows; 0 for other rules.
        measured: The finished jobs, as from `measure` and `read_table`.

    Raises UserError when no job of a rule is finished.
    """
    measured = _with_start_up(measured)
    memory_fits = {rule: _fit_memory(rows) for rule, rows in measured.groupby("rule")}
    found = {}
    for _, alike in jobs.groupby(KIND, sort=False):
        basis, rows = _nearest(alike.iloc[0], measured)
        start_up, a, b = fit(rows)
        largest = (rows.work / rows.units)[rows.units > 0].max()
        missed = _factor(start_up + a * rows.units + b * rows.work, rows.seconds).max()
        fixed, slope = memory_fits[alike.rule.iloc[0]]
        for job in alike.itertuples():
            if basis.startswith("measured"):
                by_units = (job.units / rows.units).where(rows.units > 0, 1.0)
                scaled = rows.start_up + (rows.seconds - rows.start_up) * (job.work / rows.work).where(rows.work > 0, by_units)
                seconds, spread, reach = scaled.median(), _factor(scaled, scaled.median()).max(), 1.0
                memory = (rows.peak_memory_mb + (job.array_mb - rows.array_mb).clip(lower=0.0)).max()
            else:
                seconds, spread = start_up + a * job.units + b * job.work, missed
                reach = job.work / job.units / largest if job.units and largest > 0 else 1.0
                memory = fixed + slope * job.array_mb
            found[job.Index] = {
                "seconds": seconds, "start_up": min(start_up, seconds), "epochs_share": _share_of_epochs(job, measured),
                "memory_mb": memory, "basis": basis, "rows": len(rows), "spread": spread, "reach": reach,
            }  # fmt: skip
    return pd.DataFrame.from_dict(found, orient="index").reindex(jobs.index)


def fit(rows: pd.DataFrame) -> np.ndarray:
    """Return (start-up, a, b) of seconds = start-up + a units + b work: non-negative least squares of the relative errors.

    A start-up that was measured is taken as it is.
    """
    units, work, seconds, start_up = rows[["units", "work", "seconds", "start_up"]].to_numpy(float).T
    known = start_up > 0
    seconds = np.maximum(seconds, 1e-6)
    # work comes first: of columns that explain one measurement equally well, it is the one that holds for other jobs
    columns = np.stack([work, units, np.where(known, 0.0, 1.0)], axis=1) / seconds[:, None]
    scale = columns.max(0)
    scale[scale == 0] = 1.0
    b, a, rest = nnls(columns / scale, np.maximum(1 - start_up / seconds, 0.0))[0] / scale
    return np.array([float(np.median(start_up[known])) if known.any() else rest, a, b])


def _with_start_up(measured: pd.DataFrame) -> pd.DataFrame:
    """Return the measurements with the start-up that all jobs of the rule suggest, where their own was not measured.

    A group of a few jobs could not tell start-up from work, and would scale it with the work. No start-up is shorter than the
    jobs of controls, which do nothing else.
    """
    measured = measured.assign(control=measured.model.map(_is_control))
    shortest = measured.seconds[measured.control].median() if measured.control.any() else 0.0
    for _, rows in measured[~measured.control].groupby("rule"):
        guess = np.minimum(max(fit(rows)[0], shortest), MOST_START_UP * rows.seconds)
        measured.loc[rows.index, "start_up"] = rows.start_up.where(rows.start_up > 0, guess)
    return measured


def _is_control(model: str) -> bool:
    """Return whether runs of a model are controls; a model of a user's own file is none."""
    return model in MODELS and MODELS[model].is_control


def _nearest(job: pd.Series, measured: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Return the name of the basis, and the finished jobs that have most in common with a job.

    Those made here come before those of the reference table.
    """
    control = _is_control(job.model)
    of_rule = measured[measured.rule == job.rule]
    rows = of_rule[of_rule.control == control]
    if rows.empty and control:  # the start-up of other runs
        rows = of_rule
    if rows.empty:
        raise UserError(f"no finished {job.rule} job to estimate one from; run one study to its end, e.g. make ablation")
    on_device = rows[rows.gpu == job.gpu]
    rows, device = (rows, ", other device") if on_device.empty else (on_device, "")
    near, far = (NEAR_FOR_LATENTS, {}) if job.rule == "latents" else (NEAR, FAR)
    here = rows.source == "here"
    # there is always one, since the last basis asks for nothing in common
    basis, alike = next(
        (name + suffix, found)
        for levels, pool, suffix in ((near, rows[here], ""), (near, rows[~here], ", reference"), (far, rows, ""))
        for name, keys in levels.items()
        if not (found := pool[(pool[keys] == job[keys]).all(axis=1)]).empty
    )
    same_threads = alike[alike.threads == job.threads]
    return basis + device, alike if same_threads.empty else same_threads


def _share_of_epochs(job: tuple, measured: pd.DataFrame) -> float:
    """Return the median share of their epochs that trained runs of this model have used; NaN where none is known."""
    comparable = (measured.model == job.model) & (measured.max_epochs >= COMPARABLE_EPOCHS * job.max_epochs)
    return (measured.epochs / measured.max_epochs)[comparable].median() if job.max_epochs else np.nan


def _fit_memory(rows: pd.DataFrame) -> tuple[float, float]:
    """Return (c, s) of a peak memory c + s arrays that no measurement exceeds."""
    peaks, arrays = rows.peak_memory_mb.to_numpy(), rows.array_mb.to_numpy()
    # a job's arrays are held at least once, whatever a handful of small jobs suggests
    slope = max(1.0, nnls(np.stack([np.ones(len(rows)), arrays], axis=1), peaks)[0][1])
    return max(0.0, (peaks - slope * arrays).max()), slope


def _factor(a: pd.Series, b: pd.Series | float) -> pd.Series:
    return np.maximum(a, b) / np.maximum(np.minimum(a, b), 1e-9)
