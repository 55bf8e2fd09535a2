"""Figures density and histograms show draws of one or two dimensions, beside the density or the data that runs were fitted to."""

import numpy as np
import seaborn as sns
import torch
from matplotlib.figure import Figure

from mixvae.data.targets import TARGETS
from mixvae.summary.figures.style import axes_named, legend_below, panels, wrapped
from mixvae.summary.figures.view import View, usage

PANELS = 24
SAMPLES, GRID = 1500, 300
DEPTH = 12.0
"""The target's log-density is shown down to this many nats below its peak."""
DRAWS, BINS = 10_000, 60
FROM_PRIOR, FROM_Q = "from the prior (CP-VAE: c from p(c))", "CP-VAE with c from q(c)"
COLOURS = {FROM_PRIOR: "tab:blue", FROM_Q: "tab:orange"}
MARGIN = 0.25
"""The share of the data's range that is shown on either side of it."""


def density(view: View) -> Figure:
    """Draw a panel per run: its samples, coloured by component, over the contours of the target (Kviman et al., 2023)."""
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


def histograms(view: View) -> Figure:
    """Draw a panel per run: its histogram over that of the test data, for CP-VAEs both with c from q(c) and from p(c).

    These are Fig. 3 and 4 of Lavda et al.
    """
    runs, note = view.fitting(PANELS)
    truth = view.data.points("test", binary=False)[:, 0]
    low, high = truth.min(), truth.max()
    edges = np.linspace(low - MARGIN * (high - low), high + MARGIN * (high - low), BINS + 1)
    drawn = {run: generate(view, run) for run in runs}
    figure, axes = panels([wrapped(view.label(run), 40) for run in runs], 4, (2.4, 2.0), sharex=True)
    for parts, ax in zip(drawn.values(), axes, strict=True):
        ax.stairs(_heights(truth, edges), edges, fill=True, color="0.8")
        for name, values in parts.items():
            ax.stairs(_heights(values, edges), edges, color=COLOURS[name], linewidth=1.1)
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


def _heights(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    # values outside of the edges count, too
    return np.histogram(values, edges)[0] / (len(values) * np.diff(edges))
