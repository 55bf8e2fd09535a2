"""Figure accuracy: how well classifiers tell the codes of M-VAEs apart, against K, beside single VAEs (Ye & Bors, Fig. 4)."""

from matplotlib.figure import Figure

from mixvae.study import AnyRun
from mixvae.summary.figures.curves import against_k, seeds_averaged
from mixvae.summary.figures.style import CURVE, title
from mixvae.summary.figures.view import View

PROBES = {"accuracy_knn": "k nearest neighbours", "accuracy_svm": "linear SVM", "accuracy_mlp": "MLP"}


def draw(view: View) -> Figure | None:
    """Draw a panel per classifier."""
    runs = {run: name for run, name in view.columns.items() if _compared(view.spec(run))}
    data = view.metrics[view.metrics.metric.isin(PROBES) & view.metrics.run.isin(runs)]
    data = data.assign(panel=data.metric.map(PROBES), row="", y=data.value, **{CURVE: data.run.map(runs)}).dropna(subset="y")
    if data.empty:
        return None
    figure = against_k(data, tuple(PROBES.values()), "share of test points\nclassified right")
    title(figure, view.heading(f"accuracy of classifiers of the codes against K (K=1: a single VAE), {seeds_averaged(data)}"))
    return figure


def _compared(spec: AnyRun) -> bool:
    return spec.components_are_models or (spec.is_single_vae and spec.likelihood.squared_errors)
