"""Panels with a row for every column and K: a number with one interval over test points and one over seeds."""

from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mixvae.summary.figures.style import legend_below, wrapped
from mixvae.summary.rendering import marks

FIRST = {"color": "#1f4e79", "marker": "o", "markersize": 4.5, "linewidth": 1.6}
NEXT = {"color": "#4f9d7a", "marker": "D", "markersize": 4, "linewidth": 1.6}
"""The looks of numbers: NEXT for differences to a K that is not 1, FIRST for all others."""
SEEDS = {"color": "#d9822b", "marker": "|", "markersize": 4, "linewidth": 1.0}
HOLLOW = {"markerfacecolor": "white"}
MEANINGS = {"†": "the estimate is unreliable", "‡": "training ended with its epochs"}
LABEL, ROW, LINE, AROUND = 44, 0.2, 0.12, 0.75
"""Characters in a line of a row's name; inches of a row, of every further line of its name, and around all rows."""
GAP = 0.5
"""Rows between one column's and the next."""
CLOSE = 0.75
"""Rows between two differences of one K, of which the second has no name of its own."""
APART = 0.3
"""How far below a number its interval over seeds lies, in rows."""


class Row(NamedTuple):
    """The key of a row; `against` is the smaller K that K is compared with, or 0."""

    column: str
    K: int
    against: int


def described(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with a column `beside`: the marks of every row, which are drawn beside its number."""
    return table.assign(beside=[marks(row) for row in table[["unreliable", "stopped_by_budget"]].to_dict("records")])


def as_text(numbers: pd.Series, noun: str) -> str:
    """Return the range of some counts with their noun: "2 to 3 seeds"."""
    least, most = int(numbers.min()), int(numbers.max())
    return f"{least:,}{f' to {most:,}' if most > least else ''} {noun}{'s' * (most > 1)}"


def legend(figure: Figure, entries: list[tuple[str, dict]], frame: pd.DataFrame) -> list[str]:
    """Put a legend of (name, look) under a figure; return the meanings of the marks that the figure has."""
    names, looks = zip(*entries, strict=True)
    legend_below(figure, [plt.Line2D([], [], **look) for look in looks], names)
    return [f"{sign}: {meaning}" for sign, meaning in MEANINGS.items() if frame.beside.str.contains(sign).any()]


def forest(frame: pd.DataFrame, unit: str, grouped: bool = True) -> Figure:
    """Draw a panel per metric, and a row of panels per measure.

    Arguments:
        frame: metric, measure, column, K, against (0 for none), x, low, high, seed_low, seed_high, filled, and a text `beside`.
        unit: What x is.
        grouped: Whether the rows of a column lie together.
    """
    metrics, measures = list(frame.metric.unique()), list(frame.measure.unique())
    names = [_names(frame[frame.measure == measure], grouped) for measure in measures]
    places = [_places(rows, grouped) for rows in names]
    heights = [(max(rows.values()) + 1) * ROW + AROUND for rows in places]
    figure, axes = plt.subplots(
        len(measures), len(metrics), squeeze=False, sharex="row", sharey="row", layout="constrained",
        figsize=(2.6 * len(metrics) + 1.6, sum(heights)), height_ratios=heights,
    )  # fmt: skip
    for measure, rows, called, line in zip(measures, places, names, axes, strict=True):
        for metric, ax in zip(metrics, line, strict=True):
            _panel(ax, frame[(frame.metric == metric) & (frame.measure == measure)], rows)
            ax.set_yticks(list(rows.values()), called.values(), fontsize=7)
            ax.set_title(f"{metric}, {measure}" if len(measures) > 1 else metric, fontsize=9)
        line[len(line) // 2].set_xlabel(unit, fontsize=9)
    return figure


def _names(part: pd.DataFrame, grouped: bool) -> dict[Row, str]:
    """Return the name of every row; if the rows of a column lie together, only what differs from the row above."""
    names: dict[Row, str] = {}
    last = Row("", 0, 0)
    for row in map(Row._make, part[["column", "K", "against"]].drop_duplicates().itertuples(index=False)):
        against = f"against {row.against}" if row.against else ""
        if grouped and row[:2] == last[:2]:
            names[row] = against
        elif grouped and row.column == last.column:
            names[row] = f"K={row.K} {against}"
        else:
            names[row] = f"{wrapped(row.column, LABEL, lines=2)}, K={row.K} {against}".rstrip()
        last = row
    return names


def _places(names: dict[Row, str], grouped: bool) -> dict[Row, float]:
    """Return the vertical place of every row: rows of one K are close, and grouped columns and long names get more room."""
    places: dict[Row, float] = {}
    last = None
    for row, name in names.items():
        places[row] = 0.0
        if last:
            apart = CLOSE if row[:2] == last[:2] else 1 + GAP * (grouped and row.column != last.column)
            places[row] = places[last] + apart + (name.count("\n") + names[last].count("\n")) / 2 * LINE / ROW
        last = row
    return places


def _panel(ax: Axes, part: pd.DataFrame, rows: dict[Row, float]) -> None:
    for row in part.to_dict("records"):
        place, look = rows[row["column"], row["K"], row["against"]], NEXT if row["against"] > 1 else FIRST
        ax.hlines(place, row["low"], row["high"], color=look["color"], linewidth=look["linewidth"], zorder=2)
        ax.plot(row["x"], place, **look, **({} if row["filled"] else HOLLOW), zorder=3)
        ax.plot([row["seed_low"], row["seed_high"]], [place + APART] * 2, **SEEDS, zorder=2)
        ax.annotate(
            row["beside"], (1, place), (2, 0), xycoords=ax.get_yaxis_transform(), textcoords="offset points",
            fontsize=7, va="center", annotation_clip=False,
        )  # fmt: skip
    ax.set_ylim(max(rows.values()) + 0.7, -0.6)
    ax.tick_params(axis="x", labelsize=8)
    ax.grid(visible=False, axis="y")
