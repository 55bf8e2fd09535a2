"""Figure ranking: the rank of every K and column, the best on average at the top."""

from matplotlib.figure import Figure

from mixvae.summary.figures.forest import FIRST, SEEDS, as_text, described, forest, legend
from mixvae.summary.figures.style import title
from mixvae.summary.figures.view import View

TICKS = 6
"""About how many ranks have a tick."""
RENAMED = {"rank": "x", "rank_low": "low", "rank_high": "high", "seed_rank_low": "seed_low", "seed_rank_high": "seed_high"}


def draw(view: View) -> Figure | None:
    """Draw a panel per likelihood, with the probability of being best beside every rank."""
    table = view.table("ranking")
    if table.empty:
        return None
    order = table.groupby(["column", "K"])["rank"].transform("mean").sort_values(kind="stable").index
    frame = described(table.loc[order]).rename(columns=RENAMED).assign(filled=True, against=0)
    best = [f"{share:.2f} " if share >= 0.005 else "" for share in frame.probability_best]
    frame = frame.assign(beside=[share + sign for share, sign in zip(best, frame.beside, strict=True)])
    figure = forest(frame, "rank, 1 is the lowest", grouped=False)
    for ax in figure.axes:
        most = int(ax.get_xlim()[1])
        ax.set_xticks(range(1, most + 1, max(1, round(most / TICKS))))
    entries = [(f"rank of the mean and its 95 % interval over {as_text(table.points, 'test point')}", FIRST)]
    if frame.seed_low.notna().any():
        entries.append(("least and greatest rank in any one seed", SEEDS))
    notes = legend(figure, entries, frame)
    title(
        figure,
        view.heading("K and columns ranked by their mean likelihood; on the right, the probability of being best", *notes),
    )
    return figure
