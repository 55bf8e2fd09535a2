"""Figures nll and accuracy have panels of a number against K, with a line for every column of the tables."""

import itertools
from collections.abc import Collection

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mixvae.study.metrics import BITS, factor, made_from, part_annealed
from mixvae.summary.cells import COMPARABLE
from mixvae.summary.figures.style import legend_below, natural, wrapped
from mixvae.summary.figures.view import View
from mixvae.summary.statistics import BOOTSTRAP_FROM, over_seeds

PROBES = {"accuracy_knn": "k nearest neighbours", "accuracy_svm": "linear SVM", "accuracy_mlp": "MLP"}
COLOURS, MARKERS = sns.color_palette("tab10"), "osD^vP*X<>p"
"""Neighbouring columns differ in colour and marker, and no two of up to 110 columns have the same pair."""
CROWDED = 12
"""A panel with this many columns or more is taller."""
DIGIT = 0.027
"""The width of a digit of a tick's label, as a share of the axis."""


def nll(view: View) -> Figure | None:
    """Draw the likelihoods of test points: a panel per likelihood, a row of panels per measure, since measures do not compare."""
    colour = view.info.kind == "colour_image"
    names = {made_from(name): name for name in COMPARABLE}
    data = view.metrics[view.metrics.run.isin(view.columns) & view.metrics.metric.isin(names)].dropna(subset="value")
    scales = {metric: factor(f"{name}{BITS}" if colour else name, view.info) for metric, name in names.items()}
    data = data.assign(
        panel=data.metric.map(names),
        row=[view.spec(run).likelihood.measure for run in data.run],
        y=data.value * data.metric.map(scales),
    )
    table = view.table("ablation")
    doubtful = table[table.unreliable.astype(bool) & table.metric.isin(COMPARABLE)]
    circled = set(doubtful[["metric", "K", "column"]].itertuples(index=False, name=None))
    note = "circled: doubtful, as † says in the tables" if circled else ""
    part = part_annealed(map(view.spec, data.run.unique()), view.info)
    level = f"nll_ais is of {part} points, so its level does not compare with that of other panels" if part else ""
    panels = tuple(name for name in COMPARABLE if name in set(data.panel))
    unit = f"{'bits per dimension' if colour else 'nats per test point'},\nlower is better"
    return against_k(view, data, panels, unit, ["likelihood of test points against K", note, level], circled)


def accuracy(view: View) -> Figure | None:
    """Draw the accuracy of classifiers on latent codes of M-VAEs and single VAEs, a panel for each (Ye & Bors, Fig. 4)."""
    runs = [run for run in view.columns if view.spec(run).components_are_models]
    runs += [run for run in view.columns if view.spec(run).is_single_vae and view.spec(run).likelihood.squared_errors]
    data = view.metrics[view.metrics.run.isin(runs)]
    data = data.assign(panel=data.metric.map(PROBES), row="", y=data.value).dropna(subset=["panel", "y"])
    title = ["accuracy of classifiers of the codes against K (K=1: a single VAE)"]
    return against_k(view, data, tuple(PROBES.values()), "share of test points\nclassified right", title)


def against_k(
    view: View, data: pd.DataFrame, panels: tuple[str, ...], unit: str, title: list[str], circled: Collection[tuple] = ()
) -> Figure | None:
    """Draw y against K with a line per column, or, if there is a single K, a list of the columns with a point each.

    Arguments:
        data: The frame of run, panel, row, K and y; each value of `row` has a row of panels of its own.
        unit: What y is.
        title: What the figure shows, and notes.
        circled: The (panel, K, column) that are marked with a circle.
    """
    if data.empty:
        return None
    data = data.assign(column=data.run.map(view.columns))
    rows, Ks, order = sorted(data.row.unique()), sorted(data.K.unique()), sorted(data.column.unique(), key=natural)
    looks = {
        column: {"color": colour, "marker": marker, "markersize": 4.5, "linewidth": 1.1}
        for column, colour, marker in zip(order, itertools.cycle(COLOURS), itertools.cycle(MARKERS), strict=False)
    }
    single = len(Ks) == 1
    counts = [data[data.row == row].column.nunique() for row in rows]
    heights = [max(1.2, 0.3 * count + 0.8) if single else (2.8 if count < CROWDED else 4.5) for count in counts]
    figure, axes = plt.subplots(
        len(rows), len(panels), squeeze=False, sharex="row" if single else True, sharey="row", layout="constrained",
        figsize=(3.1 * len(panels), sum(heights)), height_ratios=heights,
    )  # fmt: skip
    for row, line in zip(rows, axes, strict=True):
        for panel, ax in zip(panels, line, strict=True):
            part = data[(data.panel == panel) & (data.row == row)]
            ax.set_title(f"{panel}, {row}" if row and len(rows) > 1 else panel, fontsize=9)
            columns = [column for column in order if column in set(part.column)]
            for place, column in enumerate(columns):
                spreads = {K: over_seeds(values.to_numpy()) for K, values in part[part.column == column].groupby("K")["y"]}
                places = [place] if single else list(spreads)
                means, low, high = np.transpose([(spread.mean, spread.low, spread.high) for spread in spreads.values()])
                if single:
                    ax.plot(means, places, **looks[column])
                    ax.hlines(places, low, high, color=looks[column]["color"], linewidth=0.9)
                else:
                    ax.plot(places, means, **looks[column])
                    if (high > low).any():
                        ax.vlines(places, low, high, color=looks[column]["color"], linewidth=0.9, alpha=0.7)
                for at, (K, spread) in zip(places, spreads.items(), strict=True):
                    if (panel, K, column) in circled:
                        where = (spread.mean, at) if single else (at, spread.mean)
                        ax.plot(*where, "o", markersize=9, markerfacecolor="none", markeredgecolor="black", zorder=5)
            if single:
                ax.set_yticks(range(len(columns)), [wrapped(name, 44, lines=2) for name in columns], fontsize=7)
                ax.set(ylim=(len(columns) - 0.5, -0.5), xlabel=unit)
            else:
                ax.set_xlabel("K, components or categories" if ax in axes[-1] else "")
                ax.set_ylabel(unit if ax is line[0] else "")
                _ticks(ax, Ks)
    if not single:
        legend_below(figure, looks)
    return view.titled(figure, f"{title[0]}, {seeds_averaged(data)}", *title[1:])


def seeds_averaged(data: pd.DataFrame) -> str:
    """Return over how many seeds the points of `data` are averaged, and what their intervals are."""
    seeds = data.groupby(["panel", "column", "K"]).size()
    most, few = int(seeds.max()), ((seeds > 1) & (seeds < BOOTSTRAP_FROM)).any()
    if most == 1:
        return "one seed"
    if most < BOOTSTRAP_FROM:
        return f"mean and range over {most} seeds"
    return f"mean and 95 % bootstrap interval over {most} seeds" + ", the range where there are fewer" * bool(few)


def _ticks(ax: Axes, Ks: list[int]) -> None:
    """Put a tick at every K unless it would overlap the last; the axis is logarithmic if K spans more than a power of ten."""
    logarithmic = Ks[-1] > 10 * Ks[0]
    if logarithmic:
        ax.set_xscale("log")
    places = np.log(Ks) if logarithmic else np.array(Ks, float)
    kept: list[int] = []
    for number, place in enumerate(places):
        digits = len(str(Ks[number])) + len(str(Ks[kept[-1]])) if kept else 0
        if not kept or place - places[kept[-1]] >= DIGIT * (digits + 1) / 2 * (places[-1] - places[0]):
            kept.append(number)
    ax.set_xticks([Ks[number] for number in kept], [str(Ks[number]) for number in kept])
    ax.minorticks_off()
    ax.tick_params(labelsize=8)
