"""Table latent: the quality of the codes by probes, clusterings, divergence of the components and active units."""

import pandas as pd

from mixvae.study import AnyRun, DatasetInfo
from mixvae.summary.cells import UNDEFINED, Sources, applies, best, cells
from mixvae.summary.rendering import COLUMNS_NOTE, HOLE, Grid, intervals, spread

TITLE = "latent space"
ROWS = ("metric", "K")
HEADLINE = (("cluster_accuracy", "cluster_purity"), "share of test points, higher is better; mean over seeds")
METRICS = (
    "accuracy_svm", "accuracy_knn", "accuracy_mlp", "cluster_accuracy", "cluster_purity",
    "ari", "nmi", "asw_true", "asw_pred", "jsd", "active_units",
)  # fmt: skip
NOTE = """\
Mean over seeds [{spread} over seeds], of test points; probes and K-means are fitted on training points. Bold: best of its column.
{columns}
accuracy_svm, _knn and _mlp are those of classifiers on the codes. cluster_accuracy matches the model's own categories to the
labels one to one, cluster_purity gives each category its commonest label, which more categories inflate. ari and nmi compare
K-means clusters of the codes with the labels; asw_true is the silhouette of the labels, asw_pred that of the clusters. jsd, in
nats, is how far a mixture's components are apart; active_units counts units. What needs labels is left out where there are none.
"{hole}": runs that failed, see failures.csv; "{undefined}": the metric has no value for these codes.
"""


def make(sources: Sources) -> pd.DataFrame:
    """Return the cells."""
    frame = cells(sources, METRICS, _shown)
    frame["best"] = best(frame)
    return frame


def _shown(spec: AnyRun, name: str, info: DatasetInfo) -> bool:
    # jsd is shown only where the components are those of one mixture posterior
    return applies(spec, name, info) and (name != "jsd" or spec.posterior_is_mixture)


def grids(frame: pd.DataFrame) -> list[Grid]:
    """Return the table laid out."""
    return [spread(frame)]


def note(frame: pd.DataFrame, sources: Sources) -> str:
    """Return the explanation that stands below the table."""
    return NOTE.format(spread=intervals(frame), columns=COLUMNS_NOTE, hole=HOLE, undefined=UNDEFINED)
