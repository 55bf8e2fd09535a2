"""Numbers against K: likelihoods, and the accuracies of probes on the codes of M-VAEs."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from mixvae.study import AnyRun
from mixvae.summary.figures.style import CURVE, legend_below, natural, title, wrapped
from mixvae.summary.figures.view import View, heading
from mixvae.summary.statistics import BOOTSTRAP_FROM, over_seeds
from mixvae.summary.tables import LIKELIHOODS, MEASURES, RELIABILITY, UNRELIABLE_SHARE, mean_of

SHOWN = ("-elbo", "nll_miselbo", "nll_matched")
PROBES = {"accuracy_knn": "k nearest neighbours", "accuracy_svm": "linear SVM", "accuracy_mlp": "MLP"}
COLOURS, MARKERS = sns.color_palette("tab10"), "osD^vP*X<>p"
CROWDED = 12
"""Columns from which on a panel is taller."""
DIGIT = 0.027
"""The width of a digit of a tick's label as a share of the axis."""


def nll(view: View) -> Figure | None:
    """Draw the likelihoods against K, a line per column, a row of panels for each kind of likelihood that cannot be compared."""
    colour = view.info.kind == "colour_image"
    nats = math.prod(view.info.shape) * math.log(2) if colour else 1.0
    frames = []
    for block in SHOWN:
        rows = view.metrics[(view.metrics.metric == LIKELIHOODS[block]) & view.metrics.run.isin(view.columns)]
        sign = -1.0 if block.startswith("-") else 1.0
        measure = rows.run.map(lambda run: MEASURES[view.spec(run).likelihood.name])
        frames.append(rows.assign(panel=block, row=measure, y=sign * rows.value / nats, **{CURVE: rows.run.map(view.columns)}))
    data = pd.concat(frames, ignore_index=True).dropna(subset="y")
    if data.empty:
        return None
    circled = {(block, *cell) for block in SHOWN if block in RELIABILITY for cell in _unreliable(view, block)}
    unit = "bits per dimension" if colour else "nats per test point"
    figure = _against_k(data, SHOWN, dict.fromkeys(SHOWN, f"{unit},\nlower is better"), circled)
    note = f"circled: Pareto k above 0.7 for {UNRELIABLE_SHARE:.0%} of the points or more" if circled else ""
    title(figure, heading(view, f"likelihood of test points against K, {_over_seeds(data)}", note))
    return figure


def _unreliable(view: View, block: str) -> list[tuple[int, str]]:
    shares = mean_of(view.study, view.metrics, view.dataset, RELIABILITY[block])
    return [key for key, share in shares.items() if share >= UNRELIABLE_SHARE]


def accuracy(view: View) -> Figure | None:
    """Draw the accuracy of probes on the codes against K (Ye & Bors, Fig. 4): M-VAEs, and the single VAEs beside them."""
    runs = {run: name for run, name in view.columns.items() if _compared(view.spec(run))}
    data = view.metrics[view.metrics.metric.isin(PROBES) & view.metrics.run.isin(runs)]
    data = data.assign(panel=data.metric.map(PROBES), row="", y=data.value, **{CURVE: data.run.map(runs)}).dropna(subset="y")
    if data.empty:
        return None
    names = tuple(PROBES.values())
    figure = _against_k(data, names, dict.fromkeys(names, "share of test points\nclassified right"), set())
    title(figure, heading(view, f"accuracy of classifiers of the codes against K (K=1: a single VAE), {_over_seeds(data)}"))
    return figure


def _compared(spec: AnyRun) -> bool:
    single = spec.model == "vae" and spec.K == 1 and spec.prior.name == "standard" and spec.flow.name == "none"
    return spec.model == "mvae" or (single and spec.likelihood.name == "gaussian")


def _over_seeds(data: pd.DataFrame) -> str:
    seeds = data.groupby(["panel", CURVE, "K"]).size()
    most, few = int(seeds.max()), ((seeds > 1) & (seeds < BOOTSTRAP_FROM)).any()
    if most == 1:
        return "one seed"
    if most < BOOTSTRAP_FROM:
        return f"mean and range over {most} seeds"
    return f"mean and 95 % bootstrap interval over {most} seeds" + ", the range where there are fewer" * bool(few)


def _against_k(data: pd.DataFrame, names: tuple[str, ...], units: dict[str, str], circled: set[tuple]) -> Figure:
    """Draw y against K, a panel per name and a row of them per value of `row`, a line per column.

    With one K there are no lines to draw: then a panel lists the columns with a point each.

    Arguments:
        data: panel, row, K, y and CURVE of every run.
        names: The panels, in order.
        units: What y is in each.
        circled: (panel, K, column) to mark.
    """
    rows, Ks = sorted(data.row.unique()), sorted(data.K.unique())
    order = sorted(data[CURVE].unique(), key=natural)
    single = len(Ks) == 1
    counts = [data[data.row == row][CURVE].nunique() for row in rows]
    heights = [max(1.2, 0.3 * count + 0.8) if single else (2.8 if count < CROWDED else 4.5) for count in counts]
    figure, axes = plt.subplots(
        len(rows), len(names), squeeze=False, sharex="row" if single else True, sharey="row", layout="constrained",
        figsize=(3.1 * len(names), sum(heights)), height_ratios=heights,
    )  # fmt: skip
    for row, line in zip(rows, axes, strict=True):
        for name, ax in zip(names, line, strict=True):
            part = data[(data.panel == name) & (data.row == row)]
            ax.set_title(f"{name}, {row}" if row and len(rows) > 1 else name, fontsize=9)
            (_points if single else _lines)(ax, part, order)
            for K, column, y in _means(part):
                if (name, K, column) in circled:
                    where = (y, _listed(part, order).index(column)) if single else (K, y)
                    ax.plot(*where, "o", markersize=9, markerfacecolor="none", markeredgecolor="black", zorder=5)
            unit = units[name]
            ax.set(xlabel="", ylabel="")
            if single:
                ax.set_xlabel(unit)
            else:
                ax.set_xlabel("K, components or categories" if ax in axes[-1] else "")
                ax.set_ylabel(unit if ax is line[0] else "")
                _ticks(ax, Ks)
    if not single:
        handles = [plt.Line2D([], [], **_look(order, column)) for column in order]
        legend_below(figure, handles, order)
    return figure


def _means(part: pd.DataFrame) -> list[tuple[int, str, float]]:
    return [(K, column, y) for (K, column), y in part.groupby(["K", CURVE])["y"].mean().items()]


def _listed(part: pd.DataFrame, order: list[str]) -> list[str]:
    present = set(part[CURVE])
    return [column for column in order if column in present]


def _look(order: list[str], column: str) -> dict:
    """Return the colour and marker of a column's line: neighbours differ in both, and no two are the same up to 110 columns."""
    number = order.index(column)
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    return {"color": colour, "marker": marker, "markersize": 4.5, "linewidth": 1.1}


def _intervals(part: pd.DataFrame):
    """Yield K, column, mean and interval over seeds of y."""
    for (K, column), values in part.groupby(["K", CURVE])["y"]:
        spread = over_seeds(values.to_numpy())
        yield K, column, spread.mean, (spread.low, spread.high)


def _lines(ax: Axes, part: pd.DataFrame, order: list[str]) -> None:
    found = list(_intervals(part))
    for column in _listed(part, order):
        Ks, means, ends = zip(*((K, mean, ends) for K, name, mean, ends in found if name == column), strict=True)
        ax.plot(Ks, means, **_look(order, column))
        low, high = np.array(ends).T
        if (high > low).any():
            ax.vlines(Ks, low, high, color=_look(order, column)["color"], linewidth=0.9, alpha=0.7)


def _points(ax: Axes, part: pd.DataFrame, order: list[str]) -> None:
    columns = _listed(part, order)
    for _, column, mean, (low, high) in _intervals(part):
        place, look = columns.index(column), _look(order, column)
        ax.plot(mean, place, **look)
        ax.hlines(place, low, high, color=look["color"], linewidth=0.9)
    ax.set_yticks(range(len(columns)), [wrapped(name, 44, lines=2) for name in columns], fontsize=7)
    ax.set_ylim(len(columns) - 0.5, -0.5)


def _ticks(ax: Axes, Ks: list[int]) -> None:
    """Put a tick at every K, on a logarithmic axis when they span more than a power of ten, and leave out what would overlap."""
    if Ks[-1] > 10 * Ks[0]:
        ax.set_xscale("log")
    places = np.log(Ks) if Ks[-1] > 10 * Ks[0] else np.array(Ks, float)
    kept: list[int] = []
    for number, place in enumerate(places):
        digits = len(str(Ks[number])) + len(str(Ks[kept[-1]])) if kept else 0
        if not kept or place - places[kept[-1]] >= DIGIT * (digits + 1) / 2 * (places[-1] - places[0]):
            kept.append(number)
    ax.xaxis.set_major_locator(FixedLocator([Ks[i] for i in kept]))
    ax.xaxis.set_major_formatter(FixedFormatter([str(Ks[i]) for i in kept]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.tick_params(labelsize=8)
