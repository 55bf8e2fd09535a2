"""Draws the figures of a study on one data set, each from a View; workflow/report/figures/<kind>.rst has their captions."""

from matplotlib.figure import Figure

from mixvae.summary.figures import categories, curves, draws, forest, gaps, images, scatter, training
from mixvae.summary.figures.style import save
from mixvae.summary.figures.view import View

__all__ = ["FIGURES", "View", "draw", "save"]

FIGURES = {
    "nll": curves.nll,
    "comparisons": forest.comparisons,
    "ranking": forest.ranking,
    "gaps": gaps.draw,
    "density": draws.density,
    "training": training.draw,
    "samples": images.samples,
    "reconstructions": images.reconstructions,
    "umap": scatter.umap,
    "components": images.components,
    "accuracy": curves.accuracy,
    "maps": scatter.maps,
    "categories": categories.draw,
    "histograms": draws.histograms,
}
"""By kind, the function that draws it from a View with a complete run or more, if any of these is one that it shows."""


def draw(kind: str, view: View) -> Figure | None:
    """Draw a figure; return None if none of the runs that it shows is complete."""
    return FIGURES[kind](view) if view.columns else None
