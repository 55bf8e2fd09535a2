"""Figure gaps has a panel per column of the tables, with a bar per K of the nats that lie between the bound and the likelihood."""

import math

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mixvae.summary.figures.style import natural, wrapped
from mixvae.summary.figures.view import View

PARTS = {
    "approximation_gap": "approximation: the family of posteriors",
    "amortisation_gap": "amortisation: one encoder for all points",
}
ONE = "approximation_gap_one"
ACROSS = 4
COLOURS = sns.color_palette("tab10")[:2]


def draw(view: View) -> Figure | None:
    """Draw approximation and amortisation gap on one another, and a line where the gap of a single Gaussian would end."""
    table = view.table("gaps")
    table = table[table.metric.isin([*PARTS, ONE])]
    columns = sorted(table.column.unique(), key=natural)
    across, down = min(ACROSS, len(columns)), math.ceil(len(columns) / ACROSS)
    figure, axes = plt.subplots(
        down, across, squeeze=False, sharey=True, layout="constrained", figsize=(1 + 2.2 * across, 0.8 + 2.2 * down)
    )
    for column, ax in zip(columns, axes.flat, strict=False):
        of_column = table[table.column == column]
        measured = of_column[of_column["mean"].notna()]
        if measured.empty:
            reason = next(iter(of_column.unmeasured.dropna()), "no run is complete")
            ax.text(0.5, 0.5, wrapped(reason, 26, lines=6), ha="center", va="center", fontsize=8, transform=ax.transAxes)
            ax.set_xticks([])
            ax.grid(visible=False)
        else:
            _panel(ax, measured.pivot(index="K", columns="metric", values="mean"))
        ax.set_title(wrapped(column, 30, lines=2), fontsize=9)
    for ax in list(axes.flat)[len(columns) :]:
        ax.set_axis_off()
    figure.supylabel("nats per test point", fontsize=9)
    entries = {label: handle for ax in axes.flat for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(entries.values(), entries, loc="outside lower center", fontsize=8, ncols=1)
    return view.titled(figure, "from the bound to the likelihood, mean over seeds")


def _panel(ax: Axes, gaps: pd.DataFrame) -> None:
    places, below = range(len(gaps)), 0.0
    for (metric, name), colour in zip(PARTS.items(), COLOURS, strict=True):
        ax.bar(places, gaps[metric], bottom=below, color=colour, width=0.7, label=name)
        below = below + gaps[metric].clip(lower=0)
    if ONE in gaps:
        several = gaps[ONE].notna() & (gaps.index > 1)
        at = [place for place, there in zip(places, several, strict=True) if there]
        label = "approximation gap of one Gaussian under the same decoder"
        ax.hlines(gaps[ONE][several], [x - 0.4 for x in at], [x + 0.4 for x in at], color="black", linewidth=1.4, label=label)
    ax.set_xticks(places, [f"{K:.0f}" for K in gaps.index], fontsize=8)
    ax.set_xlabel("K", fontsize=8)
    ax.grid(visible=False, axis="x")
