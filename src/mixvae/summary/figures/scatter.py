"""Panels of codes as points in the plane, coloured by label."""

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mixvae.data.view import subset_indices
from mixvae.summary.figures.style import bare, legend_below, natural, panels, title, wrapped
from mixvae.summary.figures.view import View

PANELS = 24
POINTS = 5000
"""Points of a panel, at the most."""


def codes(view: View, run: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the means of every component, (N, Z) each, and the labels, (N,), of at most POINTS points of latents.h5ad."""
    import anndata

    cells = anndata.read_h5ad(view.folder(run) / "latents.h5ad")
    chosen = subset_indices(cells.n_obs, POINTS)
    count = sum(key.startswith("X_mu_") for key in cells.obsm)
    means = [np.asarray(cells.obsm[f"X_mu_{k}"])[chosen] for k in range(1, count + 1)]
    return means, cells.obs["label"].astype(str).to_numpy()[chosen]


def scatter(
    view: View, clouds: dict[str, tuple[np.ndarray, np.ndarray]], text: str, axes_names: tuple[str, str]
) -> Figure | None:
    """Draw panels of points coloured by label, in one colour for data without labels; None where there is no panel.

    Arguments:
        clouds: The title, points (N, 2) and labels (N,) of every panel.
        text: The figure's title.
        axes_names: What the axes are.
    """
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
        ax.set_xlabel(axes_names[0], fontsize=7)
        ax.set_ylabel(axes_names[1], fontsize=7)
    if view.info.classes > 1:
        handles = [Line2D([], [], color=colours[name], marker="o", linestyle="", markersize=4) for name in names]
        legend_below(figure, handles, names)
    title(figure, text)
    return figure
