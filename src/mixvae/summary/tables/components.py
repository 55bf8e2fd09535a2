"""Table components has the accuracy on each component's latent codes alone (Ye & Bors, table II, cited in means.py)."""

import itertools

import pandas as pd

from mixvae.summary.cells import COLUMNS, Sources, best, cell, frame_of
from mixvae.summary.rendering import Grid, spread
from mixvae.summary.tables.table import Table

KEYS = ("settings", "metric", "K")
PROBES = ("accuracy_mlp", "accuracy_svm", "accuracy_knn")
MIXTURE, SINGLE = "mixture", "single VAE"
NOTE = """\
A cell holds the mean over seeds [{spread} over seeds] of the accuracy, on test points, of a classifier that was fitted on the
latent codes of training points.

- Bold: the best of its row.
- "mixture": a classifier on the latent codes of all components together.
- "C1": a classifier on the latent codes of component 1 alone. The components of different runs have no common order.
- "single VAE": a classifier on the latent codes of the run with K = 1 and the same settings.
{hole}
"""


def make(sources: Sources) -> pd.DataFrame:
    """Return the cells: every classifier and K on the latent codes of all components, of each one alone, and of the single VAE.

    The column `settings` has the names that are columns in other tables.
    """
    rows = []
    for key in sources.keys:
        groups = {K: group for (K, k), group in sources.groups.items() if k == key and group.spec.components_are_models}
        for probe, K in itertools.product(PROBES, [K for K in groups if K > 1] or groups):
            parts = {MIXTURE: (groups[K], probe)} if K > 1 else {}
            parts |= {f"C{k}": (groups[K], f"{probe}_component_{k}") for k in range(1, K + 1) if K > 1}
            parts |= {SINGLE: (groups[1], probe)} if 1 in groups else {}
            rows += [
                cell(sources, group, metric, metric=probe, K=K, column=part, settings=groups[K].column)
                for part, (group, metric) in parts.items()
            ]
    frame = frame_of(rows, ["settings", *COLUMNS])
    frame["best"] = best(frame, ("group", "metric", "K"))
    return frame


def grids(frame: pd.DataFrame) -> list[Grid]:
    """Return the table laid out; settings are named only if there are several."""
    ends = {MIXTURE: 0, SINGLE: len(frame)}
    order = sorted(frame.column.unique(), key=lambda part: ends[part] if part in ends else int(part.removeprefix("C")))
    return [spread(frame, KEYS if frame.group.nunique() > 1 else KEYS[1:], "column", order)]


TABLE = Table("classifiers on the codes of each component", make, NOTE, KEYS, grids)
