"""Numbers with two intervals set apart, over test points and over seeds: differences to smaller K, and ranks."""

from __future__ import annotations

from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mixvae.summary.comparisons import SIGNIFICANCE
from mixvae.summary.figures.style import legend_below, title, wrapped
from mixvae.summary.figures.view import View, heading
from mixvae.summary.rendering import marks
from mixvae.summary.tables import MEASURES

LOOK = {"color": "#1f4e79", "marker": "o", "markersize": 4.5, "linewidth": 1.6}
NEXT_LOOK = {"color": "#4f9d7a", "marker": "D", "markersize": 4, "linewidth": 1.6}
GREY = "0.4"
"""Of what a legend says of all colours."""
VERDICT_LOOK = {"color": GREY, "marker": "o", "markersize": 4.5, "linestyle": ""}
SEED_LOOK = {"color": "#d9822b", "marker": "|", "markersize": 4, "linewidth": 1.0}
HOLLOW = {"markerfacecolor": "white"}
OVER_SEEDS = {"min-max": "range", "95 % bootstrap": "95 % bootstrap interval"}
MEANINGS = {"†": "the estimate is unreliable", "‡": "training ended with its epochs"}
TICKS = 6
"""Ranks that have a tick, about."""
LABEL, ROW, LINE, AROUND = 44, 0.2, 0.12, 0.75
"""Characters in a line of a row's name; inches of a row, of every further line of its name, and around all rows."""
GAP = 0.5
"""Rows between one column's and the next."""
CLOSE = 0.75
"""Rows between two differences of one K, of which the second has no name of its own."""
APART = 0.3
"""How far below a number its interval over seeds lies, in rows."""


class Row(NamedTuple):
    """What has a row of its own; against: a smaller K, 0 where K does not stand against any."""

    column: str
    K: int
    against: int


def comparisons(view: View) -> Figure | None:
    """Draw every column's differences to K = 1 and to the next smaller K as a forest, a panel per likelihood, filled where shown."""
    table = view.table("comparisons")
    if table.empty:
        return None
    frame = table.assign(
        measure=_measures(view, table), x=table.delta, filled=table.p_adjusted < SIGNIFICANCE, beside=_marks(table)
    )
    figure = _forest(frame, "difference (nats per test point)")
    for ax in figure.axes:
        ax.axvline(0, color="black", linewidth=0.8, zorder=1)
    again, tests = table.dropna(subset="seed_kind"), f"adjusted by Holm for {int(table.p.notna().sum())} comparisons"
    looks = {"K = 1": (LOOK, table.against == 1), "the next smaller K, where not 1": (NEXT_LOOK, table.against > 1)}
    entries = [(f"against {K}", look | {"linestyle": ""}) for K, (look, rows) in looks.items() if rows.any()]
    entries.append((f"mean and 95 % interval over {_count(table.points, 'test point')}", {"color": GREY, "linewidth": 1.6}))
    if len(again):
        kinds = " or ".join(OVER_SEEDS[kind] for kind in again.seed_kind.unique())
        entries.append((f"{kinds} over {_count(again.seeds, 'seed')}", SEED_LOOK))
    if frame.filled.any():
        entries.append((f"p < {SIGNIFICANCE}, {tests}", VERDICT_LOOK))
    if not frame.filled.all():
        entries.append((f"p not below {SIGNIFICANCE}, {tests}", VERDICT_LOOK | HOLLOW))
    _legend(figure, entries)
    title(figure, heading(view, "more components less fewer, below 0 is better", *_explained(frame)))
    return figure


def ranking(view: View) -> Figure | None:
    """Draw the rank of every K and column with its intervals, a panel per likelihood, the best on average at the top."""
    table = view.table("ranking")
    if table.empty:
        return None
    table = table.assign(order=table.groupby(["column", "K"])["rank"].transform("mean"))
    table = table.sort_values("order", kind="stable")
    best = [f"{share:.2f} " if share >= 0.005 else "" for share in table.probability_best]
    frame = table.assign(
        measure=_measures(view, table),
        x=table["rank"],
        low=table.rank_low,
        high=table.rank_high,
        seed_low=table.seed_rank_low,
        seed_high=table.seed_rank_high,
        filled=True,
        beside=[share + sign for share, sign in zip(best, _marks(table), strict=True)],
        against=0,
    )
    figure = _forest(frame, "rank, 1 is the lowest", grouped=False)
    for ax in figure.axes:
        most = int(ax.get_xlim()[1])
        ax.set_xticks(range(1, most + 1, max(1, round(most / TICKS))))
    entries = [(f"rank of the mean and its 95 % interval over {_count(table.points, 'test point')}", LOOK)]
    if table.seed_rank_low.notna().any():
        entries.append(("least and greatest rank in any one seed", SEED_LOOK))
    _legend(figure, entries)
    text = "K and columns ranked by their mean likelihood; on the right, the probability of being best"
    title(figure, heading(view, text, *_explained(frame)))
    return figure


def _measures(view: View, table: pd.DataFrame) -> pd.Series:
    """Return for every row what its likelihood is a distribution of."""
    of_column = {column: MEASURES[view.spec(run).likelihood.name] for run, column in view.columns.items()}
    return table.column.map(of_column)


def _marks(table: pd.DataFrame) -> list[str]:
    return [marks(*signs) for signs in zip(table.unreliable, table.stopped_by_budget, strict=True)]


def _explained(frame: pd.DataFrame) -> list[str]:
    """Return what the marks that stand in a figure mean."""
    return [f"{sign}: {meaning}" for sign, meaning in MEANINGS.items() if frame.beside.str.contains(sign).any()]


def _count(numbers: pd.Series, noun: str) -> str:
    least, most = int(numbers.min()), int(numbers.max())
    return f"{least:,}{f' to {most:,}' if most > least else ''} {noun}{'s' * (most > 1)}"


def _forest(frame: pd.DataFrame, unit: str, grouped: bool = True) -> Figure:
    """Draw a panel per metric, and a row of them per measure, with a row for every column, K and the K that it stands against.

    Arguments:
        frame: metric, measure, column, K, against (0 for none), x, low, high, seed_low, seed_high, filled, and what stands `beside`
            a number.
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
    """Return what every row is called; where columns are grouped, by what tells it from the row above."""
    names: dict[Row, str] = {}
    last = Row("", 0, 0)
    for row in part[["column", "K", "against"]].drop_duplicates().itertuples(index=False, name=None):
        row = Row(*row)
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
    """Return the height of every row, with room for its name: a gap between columns where they are grouped, less within one K."""
    places: dict[Row, float] = {}
    last = None
    for row, name in names.items():
        place = 0.0
        if last:
            apart = CLOSE if row[:2] == last[:2] else 1 + GAP * (grouped and row.column != last.column)
            place = places[last] + apart + (name.count("\n") + names[last].count("\n")) / 2 * LINE / ROW
        places[row], last = place, row
    return places


def _panel(ax: Axes, part: pd.DataFrame, rows: dict[Row, float]) -> None:
    for row in part.to_dict("records"):
        place, look = rows[row["column"], row["K"], row["against"]], NEXT_LOOK if row["against"] > 1 else LOOK
        ax.hlines(place, row["low"], row["high"], color=look["color"], linewidth=look["linewidth"], zorder=2)
        ax.plot(row["x"], place, **look, **({} if row["filled"] else HOLLOW), zorder=3)
        ax.plot([row["seed_low"], row["seed_high"]], [place + APART] * 2, **SEED_LOOK, zorder=2)
        ax.annotate(
            row["beside"], (1, place), (2, 0), xycoords=ax.get_yaxis_transform(), textcoords="offset points",
            fontsize=7, va="center", annotation_clip=False,
        )  # fmt: skip
    ax.set_ylim(max(rows.values()) + 0.7, -0.6)
    ax.tick_params(axis="x", labelsize=8)
    ax.grid(visible=False, axis="y")


def _legend(figure: Figure, entries: list[tuple[str, dict]]) -> None:
    names, looks = zip(*entries, strict=True)
    legend_below(figure, [plt.Line2D([], [], **look) for look in looks], names)
