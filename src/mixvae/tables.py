"""Ablation tables: rows K, columns prior x flow, from the tidy metrics and the runs' pointwise values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mixvae.results import StudyRuns
from mixvae.spec import MixtureVAE
from mixvae.statistics import over_seeds, paired

LIKELIHOODS = {"-elbo": "elbo", "nll_miselbo": "nll_miselbo", "nll": "nll", "nll_matched": "nll_matched"}
"""Blocks of the likelihood table, all lower is better, and the metric each is made from."""
LATENT = {
    "accuracy_svm": "max",
    "accuracy_knn": "max",
    "accuracy_mlp": "max",
    "ari": "max",
    "nmi": "max",
    "asw_true": "max",
    "asw_pred": "max",
    "jsd": None,
    "active_units": None,
}
"""Blocks of the latent table, and which end of the scale is printed in bold."""
COMPARABLE = ("-elbo", "nll_miselbo", "nll_matched")
"""Blocks in which K can be compared: `nll` spends K times as many samples on K components, so it has neither bold nor difference."""
RELIABILITY = {"nll_miselbo": "pareto_k_above_0.7", "nll": "pareto_k_above_0.7", "nll_matched": "pareto_k_matched_above_0.7"}
"""The share of test points with heavy-tailed importance weights that each estimate rests on."""
UNRELIABLE_SHARE = 0.1
"""Share of test points with Pareto k above 0.7 from which an importance-weighted likelihood is marked."""


def column_names(study: StudyRuns, dataset: str) -> dict[str, str]:
    """Return the table column of every VAE run on `dataset`: prior+flow, and whatever else tells runs of it apart.

    Runs that differ in more than K and seed never share a cell.
    """
    specs = {run: _flat(spec.model_dump(mode="json")) for run, spec in study.runs.items() if _is_vae(spec, dataset)}
    groups: dict[str, list[str]] = {}
    for run in specs:
        spec = study.runs[run]
        groups.setdefault(f"{spec.prior.name}+{spec.flow.name}", []).append(run)
    names = {}
    for group, runs in groups.items():
        keys = {key for run in runs for key in specs[run]} - {"K", "seed"}
        varying = sorted(key for key in keys if len({repr(specs[run].get(key)) for run in runs}) > 1)
        for run in runs:
            variant = ", ".join(f"{key}={specs[run].get(key)}" for key in varying)
            names[run] = f"{group} ({variant})" if variant else group
    return names


def _is_vae(spec: Any, dataset: str) -> bool:
    return isinstance(spec, MixtureVAE) and spec.dataset == dataset


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {
        name: leaf for key, part in value.items() for name, leaf in _flat(part, f"{prefix}.{key}" if prefix else key).items()
    }


def cells(study: StudyRuns, metrics: pd.DataFrame, dataset: str, blocks: Mapping[str, str]) -> pd.DataFrame:
    """Return one row per block, K and column: mean, sd, low, high, kind, seeds present and expected."""
    names = column_names(study, dataset)
    values = metrics.set_index(["run", "metric"])["value"]
    rows = []
    for block, metric in blocks.items():
        sign = -1.0 if block.startswith("-") else 1.0
        for (K, column), runs in _grouped(study, names).items():
            found = [sign * values[run, metric] for run in runs if (run, metric) in values.index]
            row = {"metric": block, "K": K, "column": column, "seeds": len(found), "expected": len(runs)}
            rows.append(row | (over_seeds(np.array(found))._asdict() if found else {}))
    return pd.DataFrame(rows, columns=["metric", "K", "column", "seeds", "expected", "mean", "sd", "low", "high", "kind"])


def _grouped(study: StudyRuns, names: dict[str, str]) -> dict[tuple[int, str], list[str]]:
    groups: dict[tuple[int, str], list[str]] = {}
    for run, column in names.items():
        groups.setdefault((study.runs[run].K, column), []).append(run)
    return dict(sorted(groups.items(), key=lambda item: item[0][0]))


def differences(study: StudyRuns, runs: Path, missing: set[str], dataset: str) -> pd.DataFrame:
    """Return one row per block, K > 1 and column: the paired difference to K = 1 with its interval over test points."""
    names = column_names(study, dataset)
    groups = {
        key: {study.runs[run].seed: run for run in members if run not in missing}
        for key, members in _grouped(study, names).items()
    }
    rows = []
    for (K, column), by_seed in groups.items():
        single = groups.get((1, column), {})
        seeds = sorted(by_seed.keys() & single.keys())
        if K == 1 or not seeds:
            continue
        ours, theirs = ([_pointwise(runs / side[seed]) for seed in seeds] for side in (by_seed, single))
        for block in COMPARABLE:
            metric, sign = LIKELIHOODS[block], -1.0 if block.startswith("-") else 1.0
            a, b = (sign * np.stack([values[metric] for values in side]) for side in (ours, theirs))
            delta = paired(a, b)
            rows.append((block, K, column, delta.mean, delta.low, delta.high))
    return pd.DataFrame(rows, columns=["metric", "K", "column", "delta", "delta_low", "delta_high"])


def _pointwise(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "pointwise.npz", allow_pickle=False) as file:
        return {metric: file[metric] for metric in LIKELIHOODS.values()}


def mean_of(study: StudyRuns, metrics: pd.DataFrame, dataset: str, metric: str) -> dict[tuple[int, str], float]:
    """Return the mean of a metric over the seeds of every cell (K, column)."""
    names = column_names(study, dataset)
    rows = metrics[(metrics.metric == metric) & metrics.run.isin(names)]
    return rows.assign(column=rows.run.map(names)).groupby(["K", "column"])["value"].mean().to_dict()


def likelihood_table(study: StudyRuns, metrics: pd.DataFrame, runs: Path, missing: set[str], dataset: str) -> pd.DataFrame:
    """Return the cells of the likelihood table with differences, marks and the control's row."""
    frame = cells(study, metrics, dataset, LIKELIHOODS)
    frame = frame.merge(differences(study, runs, missing, dataset), on=["metric", "K", "column"], how="left")
    shares = {name: mean_of(study, metrics, dataset, share) for name, share in RELIABILITY.items()}
    budget = mean_of(study, metrics, dataset, "stopped_by_budget")
    keys = list(zip(frame.metric, frame.K, frame.column, strict=True))
    frame["unreliable"] = [shares.get(metric, {}).get((K, column), 0) >= UNRELIABLE_SHARE for metric, K, column in keys]
    frame["stopped_by_budget"] = [budget.get((K, column), 0) > 0 for _, K, column in keys]
    frame["best"] = _best(frame, "min") & ~frame["unreliable"] & frame.metric.isin(COMPARABLE)
    control = metrics[(metrics.dataset == dataset) & (metrics.model == "constant") & (metrics.metric == "nll")]["value"]
    frame.attrs["control"] = float(control.iloc[0]) if len(control) else None
    return frame


def latent_table(study: StudyRuns, metrics: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Return the cells of the latent table."""
    frame = cells(study, metrics, dataset, {name: name for name in LATENT})
    frame["best"] = False
    for name, choose in LATENT.items():
        if choose is not None:
            frame.loc[frame.metric == name, "best"] = _best(frame[frame.metric == name], choose)
    return frame


def _best(frame: pd.DataFrame, choose: str) -> pd.Series:
    # best of its column as printed, so that equal numbers are both bold; a column with one row has no best
    rounded = frame["mean"].round(3)
    groups = rounded.groupby([frame.metric, frame.column])
    return (rounded == groups.transform(choose)) & (groups.transform("count") > 1)


def wide(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the cells as numbers: rows (metric, K), for every column its mean and, suffixed, everything else known."""
    facts = [name for name in frame.columns if name not in ("metric", "K", "column", "kind", "best")]
    table = frame.pivot(index=["metric", "K"], columns="column", values=facts)
    order = [(fact, column) for column in frame.column.unique() for fact in ("mean", *[f for f in facts if f != "mean"])]
    table = table.reindex(columns=order).reindex(frame[["metric", "K"]].drop_duplicates().itertuples(index=False, name=None))
    table.columns = [column if fact == "mean" else f"{column} {fact}" for fact, column in table.columns]
    return table.rename_axis(["metric", "K"]).reset_index()
