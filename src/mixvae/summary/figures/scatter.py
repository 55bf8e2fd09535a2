"""Codes as points in the plane, coloured by label: UMAPs of any codes, and two-dimensional codes as they are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mixvae.fitting.training import subset_indices
from mixvae.summary.figures.style import bare, legend_below, natural, panels, title, wrapped
from mixvae.summary.figures.view import View, heading

PANELS = 24
POINTS = 5000


def umap(view: View) -> Figure | None:
    """Draw the UMAP of every run's component means."""
    runs, note = view.fitting(PANELS)
    frames = {}
    for run in runs:
        means, labels = codes(view, run)
        frames[view.label(run)] = _frame(embed(np.concatenate(means, axis=1)), labels)
    text = "UMAP of the components' means, training and test points"
    return scatter(view, frames, heading(view, text, note), ("UMAP 1", "UMAP 2")) if frames else None


def maps(view: View) -> Figure | None:
    """Draw the two-dimensional codes of every component of M-VAEs (Ye & Bors, Fig. 3)."""
    runs = [run for run in view.columns if view.spec(run).model == "mvae" and view.spec(run).latent == 2]
    frames = {}
    for run in view.first_seeds(runs):
        means, labels = codes(view, run)
        for k, mean in enumerate(means, start=1):
            name = f"{view.label(run)}, component {k}" if len(means) > 1 else f"{view.label(run)}, a single VAE"
            frames[name] = _frame(mean, labels)
    note = f"the first {PANELS} of {len(frames)} maps" if len(frames) > PANELS else ""
    frames = dict(list(frames.items())[:PANELS])
    text = "posterior means of two-dimensional codes, training and test points"
    return scatter(view, frames, heading(view, text, note), ("z1", "z2")) if frames else None


def codes(view: View, run: str) -> tuple[list[np.ndarray], pd.Series]:
    """Return the means of every component, (N, Z) each, and the labels, of at most POINTS points of latents.h5ad."""
    import anndata

    cells = anndata.read_h5ad(view.folder(run) / "latents.h5ad")
    chosen = subset_indices(cells.n_obs, POINTS)
    count = sum(key.startswith("X_mu_") for key in cells.obsm)
    means = [np.asarray(cells.obsm[f"X_mu_{k}"])[chosen] for k in range(1, count + 1)]
    return means, cells.obs["label"].astype(str).iloc[chosen].reset_index(drop=True)


def embed(features: np.ndarray) -> np.ndarray:
    """Return the UMAP of (N, F), (N, 2)."""
    import anndata
    import scanpy

    cells = anndata.AnnData(np.zeros((len(features), 1), dtype=np.float32), obsm={"X_codes": features})
    scanpy.pp.neighbors(cells, use_rep="X_codes", random_state=0)
    scanpy.tl.umap(cells, random_state=0)
    return cells.obsm["X_umap"]


def _frame(points: np.ndarray, labels: pd.Series) -> pd.DataFrame:
    return pd.DataFrame({"x": points[:, 0], "y": points[:, 1], "label": labels})


def scatter(view: View, frames: dict[str, pd.DataFrame], text: str, axes_names: tuple[str, str]) -> Figure:
    """Draw panels of points (x, y) coloured by label, one colour for data without labels.

    Arguments:
        frames: Title and points of every panel.
        text: The figure's title.
        axes_names: What the axes are.
    """
    names = sorted({label for frame in frames.values() for label in frame.label.unique()}, key=natural)
    if len(names) <= 20:
        palette = sns.color_palette("tab10" if len(names) <= 10 else "tab20", len(names))
    else:
        palette = sns.color_palette("husl", len(names))
    colours = dict(zip(names, palette, strict=True))
    figure, axes = panels(len(frames), 4, (2.4, 2.5))
    for (name, frame), ax in zip(frames.items(), axes, strict=True):
        size = float(np.clip(6000 / len(frame), 1.5, 12))
        ax.scatter(frame.x, frame.y, s=size, c=frame.label.map(colours).tolist(), linewidths=0, alpha=0.8, rasterized=True)
        ax.set_title(wrapped(name, 38), fontsize=7)
        bare(ax)
        ax.set_xlabel(axes_names[0], fontsize=7)
        ax.set_ylabel(axes_names[1], fontsize=7)
    if view.info.classes > 1:
        handles = [Line2D([], [], color=colours[name], marker="o", linestyle="", markersize=4) for name in names]
        legend_below(figure, handles, names)
    title(figure, text)
    return figure
