"""Table comparisons: more components against fewer, by paired differences of likelihoods whose tests are adjusted together."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mixvae.summary.cells import COMPARABLE, DIFFERENCE, Sources, pairs
from mixvae.summary.rendering import COLUMNS_NOTE, MARKS_NOTE, Entry, Grid, between, label, marks, whole
from mixvae.summary.statistics import BOOTSTRAP_FROM, holm

TITLE = "differences between K"
ROWS = ("column", "metric", "K", "against")
SIGNIFICANCE = 0.05
"""A difference counts as shown if its adjusted p is below this."""
COLUMNS = [*DIFFERENCE[: DIFFERENCE.index("p") + 1], "p_adjusted", *DIFFERENCE[DIFFERENCE.index("p") + 1 :]]

NOTE = """\
Δ is K less the smaller K that it stands against, both of the same column, in nats per test point: below 0, more components are
better. Every K stands against K = 1 and, where that is another, against the next smaller K of its column. The mean is over the points
of the test part that both were evaluated on, on which no run was trained, and over the seeds that both have.
{columns}
†, ‡: of either side, as in the table of likelihoods. {marks}

- 95 % over points: t-interval of the mean over test points, the seeds of a point averaged first. It is of its own row alone.
- p: two-sided paired t-test over test points, adjusted by Holm for the {tests} of this table, all metrics, columns and K
  together, against whichever K. It is the verdict: an interval may leave out 0 where p is not below {significance}.
- over seeds: {spread} of the mean differences of the seeds, over the same test points.
- What neither the interval over points nor p says: what training again would give. They are about other test points, for the models
  trained here. {training}
{left_out}"""


def make(sources: Sources) -> pd.DataFrame:
    """Return one row per comparable likelihood and pair of K, with COLUMNS; Holm adjusts p over all rows as one family."""
    frame = sources.differences
    frame = frame[frame.metric.isin(COMPARABLE)].reset_index(drop=True)
    return frame.assign(p_adjusted=holm(frame.p.to_numpy(float)))[COLUMNS]


def left_out(frame: pd.DataFrame, sources: Sources) -> list[str]:
    """Return sentences that say which groups are not compared, and why."""
    groups = sources.groups
    if all(K == 1 for K, _ in groups):
        return ["Every run has K = 1, so there is nothing to compare."]
    planned, found = pairs(groups), set(zip(frame.K, frame.against, frame.group, strict=True))
    compared = dict.fromkeys(key for _, _, key in planned)
    names = {group.key: group.column for group in groups.values()}
    lines = {
        "No other K of the same column to compare with": [
            group.text for group in groups.values() if group.K > 1 and group.key not in compared
        ],
        "No K = 1, so that every K stands against the next smaller one alone": [
            names[key] for key in compared if (1, key) not in groups
        ],
        "Not compared, since runs are missing (failures.csv) or have seen other test points": [
            f"{groups[K, key].text} against {against}" for K, against, key in planned if (K, against, key) not in found
        ],
    }
    return [f"{reason}: {'; '.join(texts)}." for reason, texts in lines.items() if texts]


def grids(frame: pd.DataFrame) -> list[Grid]:
    """Return the table laid out, a row per difference."""
    headers = ["metric", "column", "K", "against", "Δ", "95 % over points", "p", "over seeds", "points", "seeds"]
    return [Grid(headers, [_entries(row) for row in frame.to_dict("records")])]


def _entries(row: Mapping[str, Any]) -> list[Entry]:
    interval = "[{:+.3f}, {:+.3f}]"
    p = row["p_adjusted"]
    return [
        label(row["metric"]),
        label(row["column"]),
        whole(row["K"]),
        whole(row["against"]),
        Entry(f"{row['delta']:+.3f}", marks(row), order=row["delta"], cell=row, fact="delta"),
        between(row["low"], row["high"], interval),
        Entry(probability(p), order=None if pd.isna(p) else p),
        between(row["seed_low"], row["seed_high"], interval),
        whole(row["points"]),
        whole(row["seeds"]),
    ]


def verdict(row: Mapping[str, Any]) -> str:
    """Return "better" or "worse" if more components are shown to be better or worse than fewer, else "open"."""
    if pd.isna(row["p_adjusted"]) or row["p_adjusted"] >= SIGNIFICANCE:
        return "open"
    return "better" if row["delta"] < 0 else "worse"


def probability(p: float) -> str:
    """Return how a p-value is printed: "p = 0.012", "p < 0.001", and nothing where there is none."""
    return "" if pd.isna(p) else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def note(frame: pd.DataFrame, sources: Sources) -> str:
    """Return the explanation that stands below the table."""
    tests, most = int(frame.p.notna().sum()), max(frame.seeds, default=0)
    training = "Of that the interval over seeds tells, where there is one."
    if most < BOOTSTRAP_FROM:
        training = (
            f"{'One seed tells' if most < 2 else f'At most {most} seeds, whose range is given, tell'} next to nothing of that."
        )
    return NOTE.format(
        columns=COLUMNS_NOTE,
        marks=MARKS_NOTE,
        tests=f"{tests} comparison{'s' * (tests != 1)}",
        significance=SIGNIFICANCE,
        spread=" or ".join({"min-max": "least and greatest"}.get(kind, kind) for kind in frame.seed_kind.dropna().unique())
        or "nothing, where there is one seed,",
        training=training,
        left_out="".join(f"- {line}\n" for line in left_out(frame, sources)),
    )
