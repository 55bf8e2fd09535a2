"""Figure training shows every run's bound on the validation part against the epoch."""

import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mixvae.summary.figures.style import axes_named, legend_below, natural, panels, wrapped
from mixvae.summary.figures.view import View

EARLY = 0.1
"""The first share of a run's epochs, which sets no limits of a panel since it lies far below everything of interest."""
SPREAD = 2.0
"""How many spans, see `_limits`, a panel reaches at most below the worst of the runs' best values."""


def draw(view: View) -> Figure | None:
    """Draw a panel per column, with a line per run, coloured by K."""
    read = {run: pd.read_csv(view.folder(run) / "history.csv") for run in view.columns}
    histories = {run: history for run, history in read.items() if len(history)}
    if not histories:
        return None
    columns = sorted({view.columns[run] for run in histories}, key=natural)
    Ks = sorted({view.spec(run).K for run in histories})
    colours = dict(zip(Ks, colormaps["viridis"].resampled(len(Ks) + 1).colors, strict=False))
    figure, axes = panels([wrapped(column, 40, lines=3) for column in columns], 4, (2.7, 2.3))
    for column, ax in zip(columns, axes, strict=True):
        members = {run: history for run, history in histories.items() if view.columns[run] == column}
        for run, history in members.items():
            # a single epoch has no line
            marker = "." if len(history) < 3 else ""
            ax.plot(history.epoch, history.valid_bound, color=colours[view.spec(run).K], linewidth=0.9, marker=marker)
        ax.set_ylim(_limits(list(members.values())))
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes_named(figure, "epoch", "validation bound (nats)")
    legend_below(figure, {f"K={K}": {"color": colours[K]} for K in Ks})
    return view.titled(figure, "training, a line per run, each panel with its own scale")


def _limits(histories: list[pd.DataFrame]) -> tuple[float, float]:
    """Return the limits of a panel; a span is how far the runs' best values lie apart, plus how far one run's late values."""
    late = [history[history.epoch >= EARLY * history.epoch.max()].valid_bound for history in histories]
    best = [values.max() for values in late]
    # a run that fell far behind the others for a while shall not squeeze them
    span = max(best) - min(best) + max(values.quantile(0.9) - values.quantile(0.1) for values in late)
    low, high = max(min(values.min() for values in late), min(best) - SPREAD * span), max(best)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin
