"""Figure comparisons: the differences of every K to K = 1 and to the next smaller K."""

from matplotlib.figure import Figure

from mixvae.summary.figures.forest import FIRST, HOLLOW, NEXT, SEEDS, as_text, described, forest, legend
from mixvae.summary.figures.style import title
from mixvae.summary.figures.view import View
from mixvae.summary.tables.comparisons import SIGNIFICANCE

GREY = {"color": "0.4"}
"""The colour of legend entries that apply to all colours."""
VERDICT = GREY | {"marker": "o", "markersize": 4.5, "linestyle": ""}
OVER_SEEDS = {"min-max": "range", "95 % bootstrap": "95 % bootstrap interval"}


def draw(view: View) -> Figure | None:
    """Draw a panel per likelihood; a difference is filled where its adjusted p is small."""
    table = view.table("comparisons")
    if table.empty:
        return None
    frame = described(table).assign(x=table.delta, filled=table.p_adjusted < SIGNIFICANCE)
    figure = forest(frame, "difference (nats per test point)")
    for ax in figure.axes:
        ax.axvline(0, color="black", linewidth=0.8, zorder=1)
    again, tests = table.dropna(subset="seed_kind"), f"adjusted by Holm for {int(table.p.notna().sum())} comparisons"
    entries = []
    if (table.against == 1).any():
        entries.append(("against K = 1", FIRST | {"linestyle": ""}))
    if (table.against > 1).any():
        entries.append(("against the next smaller K, where not 1", NEXT | {"linestyle": ""}))
    entries.append((f"mean and 95 % interval over {as_text(table.points, 'test point')}", GREY | {"linewidth": 1.6}))
    if len(again):
        kinds = " or ".join(OVER_SEEDS[kind] for kind in again.seed_kind.unique())
        entries.append((f"{kinds} over {as_text(again.seeds, 'seed')}", SEEDS))
    if frame.filled.any():
        entries.append((f"p < {SIGNIFICANCE}, {tests}", VERDICT))
    if not frame.filled.all():
        entries.append((f"p not below {SIGNIFICANCE}, {tests}", VERDICT | HOLLOW))
    notes = legend(figure, entries, frame)
    title(figure, view.heading("more components less fewer, below 0 is better", *notes))
    return figure
