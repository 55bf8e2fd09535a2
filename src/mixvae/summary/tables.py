"""Tables of a study from the tidy metrics and the runs' pointwise values: one row per block, K and column."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mixvae.files import read_json
from mixvae.study import AnyRun, DatasetInfo
from mixvae.study.outputs import CLUSTERING
from mixvae.summary.columns import column_names
from mixvae.summary.results import StudyRuns
from mixvae.summary.statistics import over_seeds, paired

LIKELIHOODS = {"-elbo": "elbo", "nll_miselbo": "nll_miselbo", "nll": "nll", "nll_matched": "nll_matched"}
"""Blocks of the likelihood table, all lower is better, and the metric each is made from."""
COMPARABLE = ("-elbo", "nll_miselbo", "nll_matched")
"""Blocks in which K can be compared: `nll` spends K times as many samples on K components, so it has neither bold nor difference."""
MEASURES = {
    "bernoulli": "binary pixels",
    "nb": "counts",
    "zinb": "counts",
    "gaussian": "real numbers",
    "logistics": "256 levels",
}
"""What each likelihood is a distribution of: only numbers within one of them can be compared."""
BITS = " bpd"
"""Ends the name of a block in bits per dimension: of colour images, and of likelihoods that count their discrete levels."""
LATENT = {
    "accuracy_svm": "max",
    "accuracy_knn": "max",
    "accuracy_mlp": "max",
    "cluster_accuracy": "max",
    "cluster_purity": None,
    "ari": "max",
    "nmi": "max",
    "asw_true": "max",
    "asw_pred": "max",
    "jsd": None,
    "active_units": None,
}
"""Blocks of the latent table, and which end of the scale is printed in bold."""
RECONSTRUCTION = {
    "mse": "min",
    "rmse": "min",
    "inception_score": "max",
    **{f"{name}{end}": None for name in ("dhsic", "hsic_pairs") for end in ("", "_null_median", "_null_95")},
}
"""Blocks of the reconstruction table: every measure of dependence beside what independent codes would give."""
DENSITY = {"kl": "kl", "-elbo": "elbo", "mass": "mass"}
"""Blocks of the table of posteriors fitted to a density, and their metrics."""
PROBES = ("accuracy_mlp", "accuracy_svm", "accuracy_knn")
MIXTURE, SINGLE = "mixture", "single VAE"
RELIABILITY = {"nll_miselbo": "pareto_k_above_0.7", "nll": "pareto_k_above_0.7", "nll_matched": "pareto_k_matched_above_0.7"}
"""The share of test points with heavy-tailed importance weights that each estimate rests on."""
UNRELIABLE_SHARE = 0.1
"""Share of test points with Pareto k above 0.7 from which an importance-weighted likelihood is marked."""
NOT_MEASURED = "not measured"
UNDEFINED = "undefined"
KEYS = ["metric", "K", "column"]
FACTS = ["seeds", "expected", "mean", "sd", "low", "high", "kind", "unmeasured"]


def digits(block: str) -> int:
    """Return the decimals that a block is printed with; dHSIC differs from its null in the fourth."""
    return 5 if block.startswith(("dhsic", "hsic")) else 3


def applies(spec: AnyRun, block: str, info: DatasetInfo) -> bool:
    """Return whether runs of this kind have a block's metric at all."""
    if block in LATENT and block not in ("jsd", "active_units") and info.classes < 2:
        return False
    match block:
        case "cluster_accuracy" | "cluster_purity":
            return spec.model in CLUSTERING
        case "jsd":
            return spec.model in ("vae", "hvae")
        case "mse" | "rmse":
            return spec.likelihood.name == "gaussian"
        case "inception_score":
            return spec.model == "mvae" and info.kind == "colour_image"
    if block.startswith(("dhsic", "hsic")):
        return spec.model == "mvae" and spec.K > 1
    # a density on [0, 1] is no probability of levels, so a Gaussian's bits are not those that are published
    return not block.endswith(BITS) or spec.likelihood.name == "logistics"


def factor(block: str, info: DatasetInfo) -> float:
    """Return what a metric is multiplied with for its block: the sign, and the way from nats to bits per dimension."""
    sign = -1.0 if block.startswith("-") else 1.0
    return sign / (math.prod(info.shape) * math.log(2)) if block.endswith(BITS) else sign


def cells(study: StudyRuns, metrics: pd.DataFrame, dataset: str, blocks: Mapping[str, str]) -> pd.DataFrame:
    """Return one row per block, K and column that can have it: KEYS, seeds present and expected, and what `_summary` gives.

    Blocks of which the study's runs, as far as they are there, have no value are left out.
    """
    info, names, values = study.datasets[dataset], column_names(study, dataset), _values(metrics)
    rows = []
    for block, metric in blocks.items():
        found = [
            {"metric": block, "K": K, "column": column, **_summary(values, runs, metric, factor(block, info))}
            for (K, column), runs in grouped(study, names).items()
            if applies(study.runs[runs[0]], block, info)
        ]
        if any(row["seeds"] or row["unmeasured"] != UNDEFINED for row in found):
            rows += found
    return pd.DataFrame(rows, columns=[*KEYS, *FACTS])


def _values(metrics: pd.DataFrame) -> dict[str, dict[str, tuple[float, str]]]:
    """Return {run: {metric: (value, unit)}} of the runs that are there."""
    values: dict[str, dict[str, tuple[float, str]]] = {}
    for run, metric, value, unit in metrics[["run", "metric", "value", "unit"]].itertuples(index=False, name=None):
        values.setdefault(run, {})[metric] = (value, unit)
    return values


def _summary(values: Mapping[str, Any], runs: Iterable[str], metric: str, scale: float = 1.0) -> dict[str, Any]:
    """Return mean, sd, low, high, kind and the number of seeds of a metric.

    Where no seed has a value, `unmeasured` says why: "not measured: ..." or "undefined"; None means that the runs are missing.
    """
    runs = list(runs)
    there = [values[run].get(metric, (math.nan, "")) for run in runs if run in values]
    found = [scale * value for value, _ in there if not math.isnan(value)]
    row = {"seeds": len(found), "expected": len(runs), "unmeasured": None}
    if found:
        return row | over_seeds(np.array(found))._asdict()
    reasons = [unit for _, unit in there if str(unit).startswith(NOT_MEASURED)]
    return row | {"unmeasured": reasons[0] if reasons else UNDEFINED if there else None}


def grouped(study: StudyRuns, names: Mapping[str, str]) -> dict[tuple[int, str], list[str]]:
    """Return the runs of every cell (K, column), in order of K."""
    groups: dict[tuple[int, str], list[str]] = {}
    for run, column in names.items():
        groups.setdefault((study.runs[run].K, column), []).append(run)
    return dict(sorted(groups.items(), key=lambda item: item[0][0]))


def next_smaller(cells: Iterable[tuple[int, str]]) -> dict[tuple[int, str], int]:
    """Return for every cell (K, column) the next smaller K of its column, where it has one; cells come in order of K."""
    found, last = {}, {}
    for K, column in cells:
        if column in last:
            found[K, column] = last[column]
        last[column] = K
    return found


def pairs(cells: Collection[tuple[int, str]]) -> list[tuple[int, int, str]]:
    """Return what is compared, as (K, against, column): every K with K = 1 and with the next smaller K, as far as its column has them."""
    return [
        (K, against, column)
        for (K, column), smaller in next_smaller(cells).items()
        for against in dict.fromkeys((1, smaller))
        if (against, column) in cells
    ]


def differences(study: StudyRuns, runs: Path, missing: set[str], dataset: str, blocks: Iterable[str]) -> pd.DataFrame:
    """Return one row per comparable block and one of `pairs`: the paired difference of K to `against`, over points and over seeds.

    KEYS, against, delta with the interval low to high and p over test points, how many points and seeds were paired, and seed_low,
    seed_high and seed_kind of the seeds' own mean differences, which one seed has not. There is no row where runs are missing, nor
    for runs that were evaluated on different points.
    """
    info = study.datasets[dataset]
    groups = {
        key: {study.runs[run].seed: run for run in members if run not in missing}
        for key, members in grouped(study, column_names(study, dataset)).items()
    }
    rows = []
    for K, against, column in pairs(groups):
        by_seed, smaller = groups[K, column], groups[against, column]
        seeds = sorted(by_seed.keys() & smaller.keys())
        if not seeds:
            continue
        ours, theirs = ([pointwise(runs / side[seed]) for seed in seeds] for side in (by_seed, smaller))
        if len({which for which, _ in (*ours, *theirs)}) > 1:
            continue
        for block in (block for block in blocks if block.removesuffix(BITS) in COMPARABLE):
            metric, scale = LIKELIHOODS[block.removesuffix(BITS)], factor(block, info)
            a, b = (scale * np.stack([values[metric] for _, values in side]) for side in (ours, theirs))
            again = over_seeds((a - b).mean(1))
            interval = (again.low, again.high, again.kind) if len(seeds) > 1 else (math.nan, math.nan, None)
            rows.append((block, K, column, against, *paired(a, b), a.shape[1], len(seeds), *interval))
    facts = ["against", "delta", "low", "high", "p", "points", "seeds", "seed_low", "seed_high", "seed_kind"]
    frame = pd.DataFrame(rows, columns=[*KEYS, *facts])
    blocks, columns = list(blocks), list(dict.fromkeys(column for _, column in groups))
    order = [*blocks, *columns].index
    return frame.sort_values(["metric", "column"], key=lambda names: names.map(order), kind="stable", ignore_index=True)


def pointwise(folder: Path) -> tuple[tuple[int, str | None], dict[str, np.ndarray]]:
    """Return which test points a run was evaluated on, and its likelihoods of each.

    As many points of the same prepared data, by its sha256 in the record of the evaluation, are the same points in the same order.
    """
    read = read_json(folder / "provenance/evaluate.json")["inputs"]
    data = next((digest for name, digest in read.items() if Path(name).name == "data.npz"), None)
    with np.load(folder / "pointwise.npz", allow_pickle=False) as file:
        values = {metric: file[metric] for metric in LIKELIHOODS.values()}
    return (len(values["elbo"]), data), values


def mean_of(study: StudyRuns, metrics: pd.DataFrame, dataset: str, metric: str) -> dict[tuple[int, str], float]:
    """Return the mean of a metric over the seeds of every cell (K, column)."""
    names = column_names(study, dataset)
    rows = metrics[(metrics.metric == metric) & metrics.run.isin(names)]
    return rows.assign(column=rows.run.map(names)).groupby(["K", "column"])["value"].mean().to_dict()


def marked(frame: pd.DataFrame, study: StudyRuns, metrics: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Add which cells rest on heavy-tailed weights, and which on runs whose training ended with its epochs."""
    shares = {name: mean_of(study, metrics, dataset, share) for name, share in RELIABILITY.items()}
    budget = mean_of(study, metrics, dataset, "stopped_by_budget")
    keys = list(zip(frame.metric, frame.K, frame.column, strict=True))
    return frame.assign(
        unreliable=[
            shares.get(block.removesuffix(BITS), {}).get((K, column), 0) >= UNRELIABLE_SHARE for block, K, column in keys
        ],
        stopped_by_budget=[budget.get((K, column), 0) > 0 for _, K, column in keys],
    )


def likelihood_table(study: StudyRuns, metrics: pd.DataFrame, runs: Path, missing: set[str], dataset: str) -> pd.DataFrame:
    """Return the cells of the likelihood table with differences and marks.

    `attrs["control"]` has the rows of controls, {name: {column: value}}.
    """
    info = study.datasets[dataset]
    blocks = dict(LIKELIHOODS)
    if info.kind == "colour_image":
        blocks |= {f"{block}{BITS}": LIKELIHOODS[block] for block in COMPARABLE}
    frame = cells(study, metrics, dataset, blocks)
    found = differences(study, runs, missing, dataset, blocks).rename(columns={"low": "delta_low", "high": "delta_high"})
    to_one = found.loc[found.against == 1, [*KEYS, "delta", "delta_low", "delta_high"]]
    frame = frame.merge(to_one, on=KEYS, how="left")
    frame = marked(frame, study, metrics, dataset)
    comparable = frame.metric.str.removesuffix(BITS).isin(COMPARABLE)
    frame["best"] = _best(frame, "min") & ~frame["unreliable"] & comparable
    nats = controls(study, metrics, dataset)
    discrete = set(frame.column[frame.metric.str.endswith(BITS)])
    bits = {column: value * factor(BITS, info) for column, value in nats.items() if column in discrete}
    frame.attrs["control"] = {"control": nats, f"control{BITS}": bits}
    return frame


def controls(study: StudyRuns, metrics: pd.DataFrame, dataset: str) -> dict[str, float]:
    """Return for every column the negative log-likelihood of the constant predictor with its likelihood; NaN where that is missing."""
    values = _values(metrics)
    control = controls_of(study)
    return {
        column: values.get(control[run], {}).get("nll", (math.nan,))[0]
        for run, column in column_names(study, dataset).items()
        if run in control
    }


def controls_of(study: StudyRuns) -> dict[str, str]:
    """Return for every run that has one the run of the constant predictor with its data set and likelihood."""
    constants = {run: spec for run, spec in study.runs.items() if spec.model == "constant"}
    result = {}
    for run, spec in study.runs.items():
        if run in constants:
            continue
        for name, control in constants.items():
            # nothing to lose in a constant: the control of zero-inflated counts is not inflated
            alike = control.likelihood == spec.likelihood or (control.likelihood.name, spec.likelihood.name) == ("nb", "zinb")
            if control.dataset == spec.dataset and alike:
                result[run] = name
                break
    return result


def latent_table(study: StudyRuns, metrics: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Return the cells of the latent table."""
    return _scored(cells(study, metrics, dataset, {name: name for name in LATENT}), LATENT)


def reconstruction_table(study: StudyRuns, metrics: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Return the cells of the reconstruction table (Ye & Bors, "Mixtures of Variational Autoencoders", tables I and III)."""
    frame = cells(study, metrics, dataset, {name: name for name in RECONSTRUCTION})
    frame = marked(frame, study, metrics, dataset).drop(columns="unreliable")
    return _scored(frame, RECONSTRUCTION)


def density_table(study: StudyRuns, metrics: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Return the cells of the table of posteriors fitted to a density."""
    frame = cells(study, metrics, dataset, DENSITY)
    frame = marked(frame, study, metrics, dataset).drop(columns="unreliable")
    return _scored(frame, {"kl": "min", "-elbo": "min"})


def _scored(frame: pd.DataFrame, scale: Mapping[str, str | None]) -> pd.DataFrame:
    frame["best"] = False
    for name, choose in scale.items():
        if choose is not None:
            rows = frame.metric == name
            frame.loc[rows, "best"] = _best(frame[rows], choose)
    return frame


def _best(frame: pd.DataFrame, choose: str, within: tuple[str, ...] = ("metric", "column")) -> pd.Series:
    # best as printed, so that equal numbers are both bold; where there is one number there is no best
    rounded = pd.Series(
        [round(float(mean), digits(block)) for mean, block in zip(frame["mean"], frame.metric, strict=True)],
        index=frame.index,
        dtype=float,
    )
    groups = rounded.groupby([frame[name] for name in within])
    return (rounded == groups.transform(choose)) & (groups.transform("count") > 1)


def components_table(study: StudyRuns, metrics: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Return the cells of the table of classifiers on codes (Ye & Bors, "Mixtures of Variational Autoencoders", table II).

    Rows are classifier and K; columns the concatenated codes, each component's alone, and the single VAE, which is the run of the
    same settings with K = 1. `settings` is what other tables have for columns.
    """
    names = {run: name for run, name in column_names(study, dataset).items() if study.runs[run].model == "mvae"}
    groups, values = grouped(study, names), _values(metrics)
    rows = []
    for settings in dict.fromkeys(names.values()):
        single = groups.get((1, settings))
        mixtures = [K for K, other in groups if other == settings and K > 1]
        for probe, K in itertools.product(PROBES, mixtures or [1]):
            parts = {MIXTURE: (groups[K, settings], probe)} if K > 1 else {}
            parts |= {f"C{k}": (groups[K, settings], f"{probe}_component_{k}") for k in range(1, K + 1) if K > 1}
            parts |= {SINGLE: (single, probe)} if single else {}
            rows += [
                {"settings": settings, "metric": probe, "K": K, "column": column, **_summary(values, runs, metric)}
                for column, (runs, metric) in parts.items()
            ]
    frame = pd.DataFrame(rows, columns=["settings", *KEYS, *FACTS])
    frame["best"] = _best(frame, "max", ("settings", "metric", "K"))
    components = sorted({column for column in frame.column if column not in (MIXTURE, SINGLE)}, key=lambda name: int(name[1:]))
    frame.attrs["columns"] = [name for name in (MIXTURE, *components, SINGLE) if name in set(frame.column)]
    return frame


def row_keys(frame: pd.DataFrame) -> list[str]:
    """Return what names a row of the table that the cells are laid out as."""
    return [name for name in ("settings", "metric", "K") if name in frame.columns]


def column_order(frame: pd.DataFrame) -> list[str]:
    """Return the columns of the table that the cells are laid out as."""
    return frame.attrs.get("columns") or list(frame.column.unique())


def spread(frame: pd.DataFrame, values: str | list[str]) -> pd.DataFrame:
    """Return the cells laid out: one row per settings, metric and K in the order of the cells."""
    keys = row_keys(frame)
    table = frame.pivot(index=keys, columns="column", values=values)
    return table.reindex(pd.MultiIndex.from_frame(frame[keys].drop_duplicates()))


def wide(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the cells as numbers: rows (metric, K), for every column its mean and, suffixed, everything else known."""
    keys = row_keys(frame)
    facts = [name for name in frame.columns if name not in (*keys, "column", "kind", "best", "mean")]
    if frame["unmeasured"].isna().all():
        facts.remove("unmeasured")
    order = [(fact, column) for column in column_order(frame) for fact in ("mean", *facts)]
    table = spread(frame, ["mean", *facts]).reindex(columns=order)
    table.columns = [column if fact == "mean" else f"{column} {fact}" for fact, column in table.columns]
    return table.rename_axis(keys).reset_index()
