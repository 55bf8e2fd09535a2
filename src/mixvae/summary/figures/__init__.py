"""Figures of a study on one data set: each kind a function from a View to a matplotlib figure, or None when no run can be shown.

The kinds, and which of them a study has, are those of `mixvae.study.outputs.figures`.
"""

from __future__ import annotations

from mixvae.summary.figures import against_k, categories, density, histograms, images, intervals, scatter, training
from mixvae.summary.figures.style import save
from mixvae.summary.figures.view import View

__all__ = ["FIGURES", "View", "save"]

FIGURES = {
    "nll": against_k.nll,
    "comparisons": intervals.comparisons,
    "ranking": intervals.ranking,
    "training": training.training,
    "samples": images.samples,
    "reconstructions": images.reconstructions,
    "umap": scatter.umap,
    "components": images.components,
    "accuracy": against_k.accuracy,
    "maps": scatter.maps,
    "categories": categories.categories,
    "histograms": histograms.histograms,
    "density": density.density,
}
