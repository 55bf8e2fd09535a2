"""Figure density shows posteriors fitted to a density, and the samples of their components (Kviman et al., 2023)."""

import numpy as np
import seaborn as sns
import torch
from matplotlib.figure import Figure

from mixvae.data.targets import TARGETS
from mixvae.summary.figures.style import axes_named, panels, wrapped
from mixvae.summary.figures.view import View

PANELS, SAMPLES, GRID = 24, 1500, 300
DEPTH = 12.0
"""The target's log-density is shown down to this many nats below its peak."""


def draw(view: View) -> Figure:
    """Draw a panel per run: its samples, coloured by component, over the contours of the target's log-density."""
    runs, note = view.fitting(PANELS)
    points = view.data.points("test", binary=False)
    centre, reach = (points.max(0) + points.min(0)) / 2, 0.65 * (points.max(0) - points.min(0)).max()
    x, y = (torch.linspace(float(c - reach), float(c + reach), GRID) for c in centre)
    log_p = TARGETS[view.dataset](torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)).numpy()
    x, y = x.numpy(), y.numpy()
    levels = np.linspace(log_p.max() - DEPTH, log_p.max(), 7)
    kl = view.metrics[view.metrics.metric == "kl"].set_index("run")["value"]
    fit = {run: f"KL to the target {kl[run]:.4f} nats" if run in kl.index else "KL not measured" for run in runs}
    titles = [f"{wrapped(view.label(run), 38)}\n{fit[run]}" for run in runs]
    figure, axes = panels(titles, 4, (2.4, 2.6), sharex=True, sharey=True)
    for run, ax in zip(runs, axes, strict=True):
        K = view.spec(run).K
        ax.contourf(x, y, log_p, levels=levels, cmap="Greys", alpha=0.6)
        draws = view.model(run, "density").draws(max(1, SAMPLES // K))
        colours = sns.color_palette("tab10" if K <= 10 else "husl", K)
        for component, colour in zip(draws, colours, strict=True):
            ax.scatter(*component.numpy().T, s=2.5, color=[colour], linewidths=0, rasterized=True)
        ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), aspect="equal")
        ax.grid(visible=False)
    axes_named(figure, "z1", "z2")
    text = f"samples coloured by component over the target's log-density, contours every {DEPTH / 6:.0f} nats from its peak"
    return view.titled(figure, text, note)
