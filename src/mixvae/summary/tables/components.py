"""Table components: accuracy on each component's codes alone (Ye & Bors, "Mixtures of Variational Autoencoders", table II)."""

import itertools

import pandas as pd

from mixvae.summary.cells import COLUMNS, Group, Sources, best, frame_of, origin, summary
from mixvae.summary.rendering import HOLE, Grid, intervals, spread

TITLE = "classifiers on the codes of each component"
ROWS = ("settings", "metric", "K")
PROBES = ("accuracy_mlp", "accuracy_svm", "accuracy_knn")
MIXTURE, SINGLE = "mixture", "single VAE"
NOTE = """\
Accuracy on test points of classifiers fitted on the codes of training points; mean over seeds [{spread} over seeds]. Bold: best of
its row. "mixture" is fitted on the codes of all components together, "C1" on those of component 1 alone, "single VAE" on those of
the run with K = 1 and the same settings. The components of different runs have no common order.
"{hole}": runs that failed, see failures.csv.
"""


def make(sources: Sources) -> pd.DataFrame:
    """Return the cells: every classifier and K on the codes of all components, of each one alone, and of the single VAE.

    The column `settings` has the names that are columns in other tables.
    """
    by_key: dict[str, dict[int, Group]] = {}
    for group in sources.groups.values():
        if group.spec.components_are_models:
            by_key.setdefault(group.key, {})[group.K] = group
    rows = []
    for key in (key for key in sources.keys if key in by_key):
        groups = by_key[key]
        for probe, K in itertools.product(PROBES, [K for K in groups if K > 1] or [1]):
            parts = {MIXTURE: (groups[K], probe)} if K > 1 else {}
            parts |= {f"C{k}": (groups[K], f"{probe}_component_{k}") for k in range(1, K + 1) if K > 1}
            parts |= {SINGLE: (groups[1], probe)} if 1 in groups else {}
            rows += [
                {"settings": groups[K].column, "metric": probe, "K": K, "column": part, **summary(sources, group.runs, metric)}
                | origin(key, metric, sources.info, group.runs)
                for part, (group, metric) in parts.items()
            ]
    frame = frame_of(rows, ["settings", *COLUMNS])
    frame["best"] = best(frame, ("group", "metric", "K"))
    return frame


def grids(frame: pd.DataFrame) -> list[Grid]:
    """Return the table laid out; settings are named only if there are several."""
    ends = {MIXTURE: 0, SINGLE: len(frame)}
    order = sorted(frame.column.unique(), key=lambda part: ends[part] if part in ends else int(part.removeprefix("C")))
    return [spread(frame, ROWS if frame.group.nunique() > 1 else ROWS[1:], "column", order)]


def note(frame: pd.DataFrame, sources: Sources) -> str:
    """Return the explanation that stands below the table."""
    return NOTE.format(spread=intervals(frame), hole=HOLE)
