"""Figures of a study on one data set: every kind is a module whose `draw` makes a figure of a View, None without runs.

`mixvae.study.outputs` says which kinds a study has; workflow/report/figures/<kind>.rst has the caption of each kind.
"""

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
