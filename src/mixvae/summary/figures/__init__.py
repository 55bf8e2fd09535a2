"""Figures of a study on one data set: every kind is a module whose `draw` makes a figure of a View, or None when no run can be shown.

`mixvae.study.outputs` says which of them a study has, and workflow/report/figures/<kind>.rst what reports say below them.
"""

from __future__ import annotations

from mixvae.summary.figures import (
    accuracy,
    categories,
    comparisons,
    components,
    density,
    histograms,
    maps,
    nll,
    ranking,
    reconstructions,
    samples,
    training,
    umap,
)
from mixvae.summary.figures.style import save
from mixvae.summary.figures.view import View

__all__ = ["FIGURES", "View", "save"]

KINDS = (
    *(nll, comparisons, ranking, training, samples, reconstructions, umap),
    *(components, accuracy, maps, categories, histograms, density),
)
FIGURES = {module.__name__.rpartition(".")[2]: module.draw for module in KINDS}
"""By kind, the function that draws it."""
