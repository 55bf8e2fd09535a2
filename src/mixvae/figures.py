"""Figures of a study, each a function from results to a matplotlib figure."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from mixvae.files import atomic
from mixvae.results import StudyRuns
from mixvae.statistics import BOOTSTRAP_FROM
from mixvae.tables import LIKELIHOODS, RELIABILITY, UNRELIABLE_SHARE, column_names, mean_of

SHOWN = ("-elbo", "nll_miselbo", "nll_matched")
COLUMN = "prior+flow"
IMAGES = 12
DPI = 160

sns.set_theme(style="whitegrid", context="paper")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and PDF beside each other, without the time of writing in either."""
    for suffix, metadata in ((".png", {}), (".pdf", {"CreationDate": None})):
        with atomic(path.with_suffix(suffix)) as temporary:
            figure.savefig(temporary, dpi=DPI, bbox_inches="tight", metadata=metadata)
    plt.close(figure)


def nll_against_k(study: StudyRuns, metrics: pd.DataFrame, dataset: str) -> Figure:
    """Draw the likelihoods against K, one line per prior+flow, with the interval over seeds."""
    names = column_names(study, dataset)
    frames = []
    for block in SHOWN:
        rows = metrics[(metrics.metric == LIKELIHOODS[block]) & metrics.run.isin(names)]
        sign = -1.0 if block.startswith("-") else 1.0
        frames.append(rows.assign(estimate=block, nats=sign * rows.value, **{COLUMN: rows.run.map(names)}))
    data = pd.concat(frames)
    data = data.reset_index(drop=True)
    seeds = data.groupby(["estimate", COLUMN, "K"]).size().max()
    interval, label = (("ci", 95), "95 % bootstrap interval") if seeds >= BOOTSTRAP_FROM else (("pi", 100), "range")
    grid = sns.relplot(
        data, x="K", y="nats", hue=COLUMN, style=COLUMN, col="estimate", kind="line", markers=True, dashes=False,
        errorbar=interval, seed=0, height=3.2, aspect=0.95, facet_kws={"sharey": True},
    )  # fmt: skip
    grid.set(xticks=sorted(data.K.unique()))
    for block, ax in grid.axes_dict.items():
        shares = mean_of(study, metrics, dataset, RELIABILITY[block]) if block in RELIABILITY else {}
        marked = {key for key, share in shares.items() if share >= UNRELIABLE_SHARE}
        means = data[data.estimate == block].groupby(["K", COLUMN])["nats"].mean()
        points = [(K, value) for (K, column), value in means.items() if (K, column) in marked]
        if points:
            ax.scatter(*zip(*points, strict=True), s=70, facecolors="none", edgecolors="black", linewidths=0.8, zorder=5)
    grid.set_titles("{col_name}").set_axis_labels("K, mixture components", "nats per test point, lower is better")
    over = f"mean and {label} over {seeds} seeds" if seeds > 1 else "one seed"
    grid.figure.suptitle(
        f"{dataset}: {over}; circled: Pareto k above 0.7 for {UNRELIABLE_SHARE:.0%} of the points or more", y=1.04
    )
    return grid.figure


def training_curves(study: StudyRuns, runs: Path, missing: set[str], dataset: str) -> Figure:
    """Draw every run's validation ELBO against the epoch, one panel per prior+flow."""
    frames = []
    for run, column in column_names(study, dataset).items():
        if run not in missing:
            spec = study.runs[run]
            frames.append(pd.read_csv(runs / run / "history.csv").assign(run=run, K=spec.K, model=column))
    data = pd.concat(frames)
    grid = sns.relplot(
        data, x="epoch", y="valid_elbo", hue="K", col="model", col_wrap=min(4, data.model.nunique()), kind="line",
        units="run", estimator=None, palette="viridis", linewidth=0.9, height=2.6, aspect=1.15, legend="full",
    )  # fmt: skip
    # the first epochs lie far below everything of interest
    late = data[data.epoch >= 0.1 * data.epoch.max()].valid_elbo
    span = late.max() - late.min()
    grid.set(ylim=(late.min() - 0.05 * span, late.max() + 0.1 * span))
    grid.set_titles("{col_name}").set_axis_labels("epoch", "validation ELBO (nats)")
    grid.figure.suptitle(f"{dataset}: one line per run", y=1.04)
    return grid.figure


def image_grid(rows: dict[str, np.ndarray], title: str) -> Figure:
    """Draw labelled rows of images.

    Arguments:
        rows: Label and (n, C, H, W) images in [0, 1] of every row.
    """
    columns = max(len(images) for images in rows.values())
    figure, axes = plt.subplots(len(rows), columns, figsize=(0.55 * columns + 1.8, 0.58 * len(rows) + 0.3), squeeze=False)
    for line, (label, images) in zip(axes, rows.items(), strict=True):
        for ax in line:
            ax.set_axis_off()
        for ax, image in zip(line, images, strict=False):
            ax.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        line[0].text(-0.25, 0.5, label, transform=line[0].transAxes, ha="right", va="center", fontsize=8)
    figure.suptitle(title, y=0.99, fontsize=10)
    figure.subplots_adjust(wspace=0.05, hspace=0.05, top=1 - 0.45 / figure.get_figheight())
    return figure


def first_seed_runs(study: StudyRuns, missing: set[str], dataset: str) -> dict[str, str]:
    """Return one run per column and K, the lowest seed's, with a label, in order of column and K."""
    chosen: dict[tuple[str, int], str] = {}
    for run, column in column_names(study, dataset).items():
        spec = study.runs[run]
        key = (column, spec.K)
        if run not in missing and (key not in chosen or spec.seed < study.runs[chosen[key]].seed):
            chosen[key] = run
    return {run: f"{column}, K={K}" for (column, K), run in sorted(chosen.items())}


def umap_panels(runs: Path, labels: dict[str, str], title: str) -> Figure:
    """Draw the UMAP of every run's codes, coloured by label.

    Arguments:
        labels: Run ids and the titles of their panels.
    """
    import anndata
    import scanpy

    frames = []
    for run, label in labels.items():
        cells = anndata.read_h5ad(runs / run / "latents.h5ad")
        keys = [key for key in cells.obsm if key.startswith("X_mu_")]
        cells.obsm["X_codes"] = np.concatenate([cells.obsm[key] for key in keys], axis=1)
        scanpy.pp.neighbors(cells, use_rep="X_codes", random_state=0)
        scanpy.tl.umap(cells, random_state=0)
        x, y = cells.obsm["X_umap"].T
        frames.append(pd.DataFrame({"UMAP 1": x, "UMAP 2": y, "cell type": cells.obs["label"].to_numpy(), "run": label}))
    data = pd.concat(frames)
    data["cell type"] = data["cell type"].astype(str)
    grid = sns.relplot(
        data, x="UMAP 1", y="UMAP 2", hue="cell type", hue_order=sorted(data["cell type"].unique()), col="run",
        col_wrap=min(3, len(labels)), kind="scatter", s=12, linewidth=0, palette="tab10", height=2.8,
        facet_kws={"sharex": False, "sharey": False},
    )  # fmt: skip
    grid.set_titles("{col_name}").set(xticks=[], yticks=[])
    grid.figure.suptitle(title, y=1.02)
    return grid.figure
