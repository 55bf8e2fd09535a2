"""Numbers with two intervals set apart, over test points and over seeds: differences to K = 1, and ranks."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mixvae.comparisons import SIGNIFICANCE
from mixvae.figures.style import legend_below, title, wrapped
from mixvae.figures.view import View, heading
from mixvae.rendering import marks
from mixvae.tables import MEASURES

LOOK = {"color": "#1f4e79", "marker": "o", "markersize": 4.5, "linewidth": 1.6}
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
APART = 0.3
"""How far below a number its interval over seeds lies, in rows."""


def comparisons(view: View) -> Figure | None:
    """Draw every column's differences to K = 1 as a forest, a panel per likelihood, filled where they are shown."""
    table = view.table("comparisons")
    if table.empty:
        return None
    frame = table.assign(
        measure=_measures(view, table), x=table.delta, filled=table.p_adjusted < SIGNIFICANCE, beside=_marks(table)
    )
    figure = _forest(frame, "difference to K = 1 (nats per test point)")
    for ax in figure.axes:
        ax.axvline(0, color="black", linewidth=0.8, zorder=1)
    again, tests = table.dropna(subset="seed_kind"), f"adjusted by Holm for {int(table.p.notna().sum())} comparisons"
    entries = [(f"mean and 95 % interval over {_count(table.points, 'test point')}", {**LOOK, "marker": ""})]
    if len(again):
        kinds = " or ".join(OVER_SEEDS[kind] for kind in again.seed_kind.unique())
        entries.append((f"{kinds} over {_count(again.seeds, 'seed')}", SEED_LOOK))
    if frame.filled.any():
        entries.append((f"p < {SIGNIFICANCE}, {tests}", {**LOOK, "linestyle": ""}))
    if not frame.filled.all():
        entries.append((f"p not below {SIGNIFICANCE}, {tests}", {**LOOK, **HOLLOW, "linestyle": ""}))
    _legend(figure, entries)
    title(figure, heading(view, "more components less one, below 0 is better", *_explained(frame)))
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
    """Draw a panel per metric, and a row of them per measure, with a row for every column and K.

    Arguments:
        frame: metric, measure, column, K, x, low, high, seed_low, seed_high, filled, and what stands `beside` a number.
        unit: What x is.
        grouped: Whether the rows of a column lie together.
    """
    metrics, measures = list(frame.metric.unique()), list(frame.measure.unique())
    places = [_places(frame[frame.measure == measure], grouped) for measure in measures]
    heights = [(max(rows.values()) + 1) * ROW + LINE * _extra(rows) + AROUND for rows in places]
    figure, axes = plt.subplots(
        len(measures), len(metrics), squeeze=False, sharex="row", sharey="row", layout="constrained",
        figsize=(2.6 * len(metrics) + 1.6, sum(heights)), height_ratios=heights,
    )  # fmt: skip
    for measure, rows, line in zip(measures, places, axes, strict=True):
        for metric, ax in zip(metrics, line, strict=True):
            _panel(ax, frame[(frame.metric == metric) & (frame.measure == measure)], rows)
            ax.set_title(f"{metric}, {measure}" if len(measures) > 1 else metric, fontsize=9)
        line[len(line) // 2].set_xlabel(unit, fontsize=9)
    return figure


def _places(part: pd.DataFrame, grouped: bool) -> dict[tuple[str, int], float]:
    """Return the height of every (column, K), with a gap between columns where they are grouped."""
    places: dict[tuple[str, int], float] = {}
    last, place = None, -1.0
    for column, K in part[["column", "K"]].drop_duplicates().itertuples(index=False):
        place += 1 + GAP * (grouped and last is not None and column != last)
        places[column, K], last = place, column
    return places


def _extra(rows: dict[tuple[str, int], float]) -> int:
    """Return how many lines the names of rows take beyond one each, at the longest for all."""
    return len(rows) * max(_name(*key).count("\n") for key in rows)


def _name(column: str, K: int) -> str:
    return f"{wrapped(column, LABEL, lines=2)}, K={K}"


def _panel(ax: Axes, part: pd.DataFrame, rows: dict[tuple[str, int], float]) -> None:
    for row in part.to_dict("records"):
        place = rows[row["column"], row["K"]]
        ax.hlines(place, row["low"], row["high"], color=LOOK["color"], linewidth=LOOK["linewidth"], zorder=2)
        ax.plot(row["x"], place, **LOOK, **({} if row["filled"] else HOLLOW), zorder=3)
        ax.plot([row["seed_low"], row["seed_high"]], [place + APART] * 2, **SEED_LOOK, zorder=2)
        ax.annotate(
            row["beside"], (1, place), (2, 0), xycoords=ax.get_yaxis_transform(), textcoords="offset points",
            fontsize=7, va="center", annotation_clip=False,
        )  # fmt: skip
    ax.set_yticks(list(rows.values()), [_name(*key) for key in rows], fontsize=7)
    ax.set_ylim(max(rows.values()) + 0.7, -0.6)
    ax.tick_params(axis="x", labelsize=8)
    ax.grid(visible=False, axis="y")


def _legend(figure: Figure, entries: list[tuple[str, dict]]) -> None:
    names, looks = zip(*entries, strict=True)
    legend_below(figure, [plt.Line2D([], [], **look) for look in looks], names)
