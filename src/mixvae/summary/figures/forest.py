"""Figures comparisons and ranking have a row for every column and K, with an interval over test points and one over seeds."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mixvae.summary.figures.style import legend_below, wrapped
from mixvae.summary.figures.view import View
from mixvae.summary.rendering import marks
from mixvae.summary.tables.comparisons import SIGNIFICANCE

FIRST = {"color": "#1f4e79", "marker": "o", "markersize": 4.5, "linewidth": 1.6}
NEXT = {"color": "#4f9d7a", "marker": "D", "markersize": 4, "linewidth": 1.6}
"""The looks of numbers: NEXT for differences to a K that is not 1, FIRST for all others."""
SEEDS = {"color": "#d9822b", "marker": "|", "markersize": 4, "linewidth": 1.0}
HOLLOW = {"markerfacecolor": "white"}
MEANINGS = {"unreliable": "†: the estimate is doubtful", "stopped_by_budget": "‡: training ended with its epochs"}
LABEL, ROW, LINE, AROUND = 44, 0.2, 0.12, 0.75
"""Characters in a line of a row's name; inches of a row, of every further line of its name, and around all rows."""
GAP, CLOSE, BELOW = 0.5, 0.75, 0.3
"""In rows: the room between columns, how far apart two differences of one K are, of which the second has no name of its own, and
how far below a number its interval over seeds lies."""
GREY = {"color": "0.4"}
"""The colour of legend entries that apply to all colours."""
VERDICT = GREY | {"marker": "o", "markersize": 4.5, "linestyle": ""}
OVER_SEEDS = {"min-max": "range", "95 % bootstrap": "95 % bootstrap interval"}
TICKS = 6
"""About how many ranks have a tick."""


Row = tuple[str, int, int]
"""The key of a row: its column, its K, and the smaller K that this is compared with, or 0."""


def comparisons(view: View) -> Figure | None:
    """Draw every K less K = 1 and the next smaller K, a panel per likelihood; filled where the adjusted p is small."""
    table = view.table("comparisons")
    if table.empty:
        return None
    frame = table.assign(x=table.delta, filled=table.p_adjusted < SIGNIFICANCE, beside="")
    figure = forest(frame, "difference (nats per test point)")
    for ax in figure.axes:
        ax.axvline(0, color="black", linewidth=0.8, zorder=1)
    again, tests = table.dropna(subset="seed_kind"), f"adjusted by Holm for {int(table.p.notna().sum())} comparisons"
    kinds = " or ".join(OVER_SEEDS[kind] for kind in again.seed_kind.unique())
    entries = [
        ((table.against == 1).any(), "against K = 1", FIRST | {"linestyle": ""}),
        ((table.against > 1).any(), "against the next smaller K, where not 1", NEXT | {"linestyle": ""}),
        (True, f"mean and 95 % interval over {as_text(table.points, 'test point')}", GREY | {"linewidth": 1.6}),
        (len(again) > 0, f"{kinds} over {as_text(again.seeds, 'seed')}", SEEDS),
        (frame.filled.any(), f"p < {SIGNIFICANCE}, {tests}", VERDICT),
        (not frame.filled.all(), f"p not below {SIGNIFICANCE}, {tests}", VERDICT | HOLLOW),
    ]
    legend_below(figure, {name: look for there, name, look in entries if there})
    return view.titled(figure, "more components less fewer, below 0 is better", *meanings(table))


def ranking(view: View) -> Figure | None:
    """Draw the rank of every K and column, the best on average at the top, with the probability of being best beside it."""
    table = view.table("ranking")
    if table.empty:
        return None
    order = table.groupby(["column", "K"])["rank"].transform("mean").sort_values(kind="stable").index
    frame = table.loc[order].rename(columns=lambda name: name.replace("rank_", ""))
    shares = [f"{share:.2f} " if share >= 0.005 else "" for share in frame.probability_best]
    frame = frame.assign(x=frame["rank"], filled=True, against=0, beside=shares)
    figure = forest(frame, "rank, 1 is the lowest", grouped=False)
    for ax in figure.axes:
        most = int(ax.get_xlim()[1])
        ax.set_xticks(range(1, most + 1, max(1, round(most / TICKS))))
    looks = {f"rank of the mean and its 95 % interval over {as_text(table.points, 'test point')}": FIRST}
    looks |= {"least and greatest rank in any one seed": SEEDS} if frame.seed_low.notna().any() else {}
    legend_below(figure, looks)
    text = "K and columns ranked by their mean likelihood; on the right, the probability of being best"
    return view.titled(figure, text, *meanings(table))


def as_text(numbers: pd.Series, noun: str) -> str:
    """Return the range of some counts with their noun: "2 to 3 seeds"."""
    least, most = int(min(numbers, default=0)), int(max(numbers, default=0))
    return f"{least:,}{f' to {most:,}' if most > least else ''} {noun}{'s' * (most > 1)}"


def meanings(table: pd.DataFrame) -> list[str]:
    """Return the meanings of the marks that the rows of a table have."""
    return [meaning for column, meaning in MEANINGS.items() if table[column].eq(True).any()]


def forest(frame: pd.DataFrame, unit: str, grouped: bool = True) -> Figure:
    """Draw a panel per metric, and a row of panels per measure.

    Arguments:
        frame: metric, measure, column, K, against (0 for none), x, low, high, seed_low, seed_high, filled, unreliable,
            stopped_by_budget, and the text `beside` that stands before the marks.
        unit: What x is.
        grouped: Whether the rows of a column lie together.
    """
    metrics, measures = list(frame.metric.unique()), list(frame.measure.unique())
    rows = [_rows(frame[frame.measure == measure], grouped) for measure in measures]
    heights = [(max(places.values()) + 1) * ROW + AROUND for places, _ in rows]
    figure, axes = plt.subplots(
        len(measures), len(metrics), squeeze=False, sharex="row", sharey="row", layout="constrained",
        figsize=(2.6 * len(metrics) + 1.6, sum(heights)), height_ratios=heights,
    )  # fmt: skip
    for measure, (places, names), line in zip(measures, rows, axes, strict=True):
        for metric, ax in zip(metrics, line, strict=True):
            _panel(ax, frame[(frame.metric == metric) & (frame.measure == measure)], places)
            ax.set_yticks(list(places.values()), names, fontsize=7)
            ax.set_title(f"{metric}, {measure}" if len(measures) > 1 else metric, fontsize=9)
        line[len(line) // 2].set_xlabel(unit, fontsize=9)
    return figure


def _rows(part: pd.DataFrame, grouped: bool) -> tuple[dict[Row, float], list[str]]:
    """Return the vertical place and the name of every row.

    Rows of one K are close, and long names get more room. If the rows of a column lie together, columns have more room between
    them, and a name is only what differs from the row above.
    """
    places: dict[Row, float] = {}
    names: list[str] = []
    last: Row = ("", 0, 0)
    for row in part[["column", "K", "against"]].drop_duplicates().itertuples(index=False, name=None):
        column, K, smaller = row
        same_column, same_K = row[0] == last[0], row[:2] == last[:2]
        name = f"against {smaller}" if smaller else ""
        if not (grouped and same_K):
            name = f"K={K} {name}"
        if not (grouped and same_column):
            name = f"{wrapped(column, LABEL, lines=2)}, {name}".rstrip()
        place = 0.0
        if places:
            apart = CLOSE if same_K else 1 + GAP * (grouped and not same_column)
            place = places[last] + apart + (name.count("\n") + names[-1].count("\n")) / 2 * LINE / ROW
        places[row], last = place, row
        names.append(name)
    return places, names


def _panel(ax: Axes, part: pd.DataFrame, places: dict[Row, float]) -> None:
    for row in part.to_dict("records"):
        place, look = places[row["column"], row["K"], row["against"]], NEXT if row["against"] > 1 else FIRST
        ax.hlines(place, row["low"], row["high"], color=look["color"], linewidth=look["linewidth"], zorder=2)
        ax.plot(row["x"], place, **look, **({} if row["filled"] else HOLLOW), zorder=3)
        ax.plot([row["seed_low"], row["seed_high"]], [place + BELOW] * 2, **SEEDS, zorder=2)
        ax.annotate(
            row["beside"] + marks(row), (1, place), (2, 0), xycoords=ax.get_yaxis_transform(), textcoords="offset points",
            fontsize=7, va="center", annotation_clip=False,
        )  # fmt: skip
    ax.set_ylim(max(places.values()) + 0.7, -0.6)
    ax.tick_params(axis="x", labelsize=8)
    ax.grid(visible=False, axis="y")
