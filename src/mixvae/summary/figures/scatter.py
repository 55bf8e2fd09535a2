"""Figures umap and maps have panels of latent codes as points in the plane, coloured by label."""

import itertools

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from mixvae.data.view import subset_indices
from mixvae.study.jobs import run_file
from mixvae.summary.figures.style import bare, legend_below, natural, panels, wrapped
from mixvae.summary.figures.view import View

PANELS = 24
POINTS = 5000
"""Points of a panel, at the most."""


def umap(view: View) -> Figure | None:
    """Draw the latent codes of every run, embedded in the plane by UMAP."""
    runs, note = view.fitting(PANELS)
    clouds = {}
    for run in runs:
        means, labels = codes(view, run)
        clouds[view.label(run)] = embed(np.concatenate(means, axis=1)), labels
    return scatter(view, clouds, "UMAP ", "UMAP of the components' means, training and test points", note)


def maps(view: View) -> Figure | None:
    """Draw the two-dimensional latent codes of every component of M-VAEs (Ye & Bors, Fig. 3)."""
    runs = [run for run in view.columns if view.spec(run).components_are_models and view.spec(run).latent == 2]
    clouds = {}
    for run in view.first_seeds(runs):
        means, labels = codes(view, run)
        for k, mean in enumerate(means, start=1):
            part = f"component {k}" if len(means) > 1 else "a single VAE"
            clouds[f"{view.label(run)}, {part}"] = mean, labels
    note = f"the first {PANELS} of {len(clouds)} maps" if len(clouds) > PANELS else ""
    shown = dict(itertools.islice(clouds.items(), PANELS))
    return scatter(view, shown, "z", "posterior means of two-dimensional codes, training and test points", note)


def embed(features: np.ndarray) -> np.ndarray:
    """Return the UMAP of (N, F), (N, 2)."""
    import anndata
    import scanpy

    cells = anndata.AnnData(np.zeros((len(features), 1), dtype=np.float32), obsm={"X_codes": features})
    scanpy.pp.neighbors(cells, use_rep="X_codes", random_state=0)
    scanpy.tl.umap(cells, random_state=0)
    return cells.obsm["X_umap"]


def codes(view: View, run: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the means of every component, (N, Z) each, and the labels, (N,), of at most POINTS points of latents.h5ad."""
    import anndata

    cells = anndata.read_h5ad(run_file("latents.h5ad", view.spec(run), view.folder(run)))
    chosen = subset_indices(cells.n_obs, POINTS)
    count = sum(key.startswith("X_mu_") for key in cells.obsm)
    means = [np.asarray(cells.obsm[f"X_mu_{k}"])[chosen] for k in range(1, count + 1)]
    return means, cells.obs["label"].astype(str).to_numpy()[chosen]


def scatter(view: View, clouds: dict[str, tuple[np.ndarray, np.ndarray]], axis: str, text: str, note: str) -> Figure | None:
    """Draw a panel per title of its points, (N, 2), coloured by label, (N,), or in one colour for data without labels."""
    if not clouds:
        return None
    names = sorted({label for _, labels in clouds.values() for label in labels}, key=natural)
    kind = "tab10" if len(names) <= 10 else "tab20" if len(names) <= 20 else "husl"
    colours = dict(zip(names, sns.color_palette(kind, len(names)), strict=True))
    figure, axes = panels([wrapped(name, 38) for name in clouds], 4, (2.4, 2.5))
    for (points, labels), ax in zip(clouds.values(), axes, strict=True):
        size = float(np.clip(6000 / len(points), 1.5, 12))
        ax.scatter(*points.T, s=size, c=[colours[label] for label in labels], linewidths=0, alpha=0.8, rasterized=True)
        bare(ax)
        ax.set_xlabel(f"{axis}1", fontsize=7)
        ax.set_ylabel(f"{axis}2", fontsize=7)
    if view.info.classes > 1:
        point = {"marker": "o", "linestyle": "", "markersize": 4}
        legend_below(figure, {name: point | {"color": colours[name]} for name in names})
    return view.titled(figure, text, note)
