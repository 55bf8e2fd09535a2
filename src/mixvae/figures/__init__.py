"""Figures of a study on one data set: each kind a function from a View to a matplotlib figure, or None when no run can be shown.

The kinds, and which of them a study has, are those of `mixvae.spec.outputs.figures`.
"""

from __future__ import annotations

from mixvae.figures.against_k import accuracy, nll
from mixvae.figures.categories import categories
from mixvae.figures.density import density
from mixvae.figures.histograms import histograms
from mixvae.figures.images import components, reconstructions, samples
from mixvae.figures.scatter import maps, umap
from mixvae.figures.style import save
from mixvae.figures.training import training
from mixvae.figures.view import View

__all__ = ["FIGURES", "View", "save"]

FIGURES = {
    "nll": nll,
    "training": training,
    "samples": samples,
    "reconstructions": reconstructions,
    "umap": umap,
    "components": components,
    "accuracy": accuracy,
    "maps": maps,
    "categories": categories,
    "histograms": histograms,
    "density": density,
}
