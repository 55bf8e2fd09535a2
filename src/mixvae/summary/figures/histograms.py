"""Figure histograms shows one-dimensional data, and the draws of every system (Lavda et al., Fig. 3 and 4)."""

import numpy as np
import torch
from matplotlib.figure import Figure

from mixvae.summary.figures.style import axes_named, legend_below, panels, wrapped
from mixvae.summary.figures.view import View, usage

PANELS, DRAWS, BINS = 24, 10_000, 60
FROM_PRIOR, FROM_Q = "from the prior (CP-VAE: c from p(c))", "CP-VAE with c from q(c)"
COLOURS = {FROM_PRIOR: "tab:blue", FROM_Q: "tab:orange"}
MARGIN = 0.25
"""The share of the data's range that is shown on either side of it."""


def draw(view: View) -> Figure:
    """Draw a panel per run: its histogram over that of the test data, for CP-VAEs both with c from q(c) and from p(c)."""
    runs, note = view.fitting(PANELS)
    truth = view.data.points("test", binary=False)[:, 0]
    low, high = truth.min(), truth.max()
    edges = np.linspace(low - MARGIN * (high - low), high + MARGIN * (high - low), BINS + 1)
    drawn = {run: generate(view, run) for run in runs}
    figure, axes = panels([wrapped(view.label(run), 40) for run in runs], 4, (2.4, 2.0), sharex=True)
    for parts, ax in zip(drawn.values(), axes, strict=True):
        ax.stairs(_density(truth, edges), edges, fill=True, color="0.8")
        for name, values in parts.items():
            ax.stairs(_density(values, edges), edges, color=COLOURS[name], linewidth=1.1)
    axes_named(figure, "x", "density")
    names = [name for name in COLOURS if any(name in parts for parts in drawn.values())]
    legend_below(figure, {"test data": {"color": "0.8", "linewidth": 6}} | {name: {"color": COLOURS[name]} for name in names})
    return view.titled(figure, f"test data and {DRAWS} generations of each run, the likelihood's noise included", note)


@torch.inference_mode()
def generate(view: View, run: str) -> dict[str, np.ndarray]:
    """Return draws of x, (DRAWS,), by the name of how they were made; they include the likelihood's noise, as the data do."""
    spec, model = view.spec(run), view.model(run, "histograms")
    means = {FROM_PRIOR: model.sample(DRAWS)}
    if spec.has_category_priors:
        means[FROM_Q] = model.sample(DRAWS, usage(model, view.points(run, "train")))
    return {name: (mean + spec.likelihood.std * torch.randn_like(mean))[:, 0].numpy() for name, mean in means.items()}


def _density(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    # values outside of the edges count, too
    return np.histogram(values, edges)[0] / (len(values) * np.diff(edges))
