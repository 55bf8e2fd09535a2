"""Tables latent, reconstruction and density have means over seeds of metrics other than likelihoods.

The reconstructions are those of Ye & Bors, "Mixtures of Variational Autoencoders", tables I and III.
"""

import pandas as pd

from mixvae.study.metrics import PLAIN
from mixvae.study.systems import OwnMetric
from mixvae.summary.cells import NOT_MEASURED, UNDEFINED, Sources, cells
from mixvae.summary.tables.table import Table

CODES = (
    "accuracy_svm", "accuracy_knn", "accuracy_mlp", "cluster_accuracy", "cluster_purity",
    "ari", "nmi", "asw_true", "asw_pred", "jsd", "active_units",
)  # fmt: skip
RECONSTRUCTIONS = (
    "mse", "rmse", "inception_score",
    *(f"{name}{end}" for name in ("dhsic", "hsic_pairs") for end in ("", "_null_median", "_null_95")),
)  # fmt: skip
"""Each measure of dependence is followed by the values that independent codes would give."""
GAP_METRICS = (
    "approximation_gap", "approximation_gap_one", "amortisation_gap", "nll_ais", *(f"{name}_excess" for name in PLAIN),
    "nll_train", "generalisation_gap", "nll_adaptive", "ais_gap", "ais_sensitivity", "ais_ess", "ais_acceptance",
)  # fmt: skip
SURE = ("amortisation_gap", "nll_adaptive", "ais_sensitivity", "ais_ess", "ais_acceptance")
"""Those of them that are not doubtful where `nll_ais` is."""


def _unmeasured(frame: pd.DataFrame, sources: Sources) -> dict[str, str]:
    """Return lines of the note that say why something was not measured."""
    found = [reason.removeprefix(f"{NOT_MEASURED}: ") for reason in frame.unmeasured.dropna().unique() if reason != UNDEFINED]
    return {"reasons": "".join(f'\n- "{NOT_MEASURED}": {reason}.' for reason in found)}


def _own_metrics(sources: Sources) -> dict[str, OwnMetric]:
    return {name: metric for group in sources.groups.values() for name, metric in group.spec.own_metrics.items()}


def _better(sources: Sources) -> dict[str, str]:
    return {name: metric.better for name, metric in _own_metrics(sources).items() if metric.better}


def _notes(sources: Sources) -> str:
    ends = {"min": "; lower is better", "max": "; higher is better", None: ""}
    return "".join(f"\n- `{name}`: {metric.note}{ends[metric.better]}." for name, metric in _own_metrics(sources).items())


LATENT = Table(
    "latent space",
    lambda sources: cells(sources, CODES, stopped=False),
    f"""\
A cell holds the mean over seeds [{{spread}} over seeds] of a metric on test points. Probes and K-means were fitted on training
points.

{{bold}}
{{columns}}
- `accuracy_svm`, `accuracy_knn`, `accuracy_mlp`: accuracy of classifiers on the latent codes.
- `cluster_accuracy`: the model's own categories are matched to the labels one to one.
- `cluster_purity`: each category is given its most common label, so more categories inflate it.
- `ari`, `nmi`: agreement of K-means clusters of the latent codes with the labels.
- `asw_true`: silhouette of the labels; `asw_pred`: silhouette of the clusters.
- `jsd`: how far the components of a mixture are apart, in nats.
- `active_units`: how many latent units are active.
- Metrics that need labels are left out if the data have none.
{{hole}}
- "{UNDEFINED}": the metric has no value for these latent codes.
""",
    headline=(("cluster_accuracy", "cluster_purity"), "share of test points, higher is better; mean over seeds"),
)
RECONSTRUCTION = Table(
    "reconstructions",
    lambda sources: cells(sources, RECONSTRUCTIONS),
    """\
A cell holds the mean over seeds [{spread} over seeds] of a metric on test points, under a Gaussian likelihood. K = 1 is the
single VAE.

{bold}
{columns}
{stopped}
- `mse`: squared error summed over the numbers of a point, which lie in [0, 1]; `rmse`: the root of its mean.
- `inception_score`: of images drawn from the prior; higher is better.
- `dhsic`: dependence of the components' latent codes. `dhsic_null_median` and `dhsic_null_95` are its values for codes that
  were permuted, hence independent: only a `dhsic` above them shows dependence.
- `hsic_pairs`: dependence summed over all pairs of components, beside its own null.
{hole}{reasons}
""",
    facts=_unmeasured,
    headline=(("mse",), "squared error, lower is better; mean over seeds"),
)
GAPS = Table(
    "where the nats go",
    lambda sources: cells(sources, GAP_METRICS, judged_by={name: "nll_ais" for name in GAP_METRICS if name not in SURE}),
    """\
A cell holds the mean over seeds [{spread} over seeds] in nats per point, but for `ais_ess` and `ais_acceptance`. Approximation and
amortisation gap add up to log p(x) less the bound, on the same test points; Cremer, Li & Duvenaud (2018). No gap is negative: one
that is below 0 tells how far the estimates are off.

{bold}
{columns}
{marks}
- `approximation_gap`: log p(x) less the bound of the best posterior of the model's family for each point, K Gaussians behind the
  model's flow, found by gradient steps from the encoder's.
- `approximation_gap_one`: the same for one Gaussian under the same decoder, which tells what K components buy in inference alone.
- `amortisation_gap`: the bound of the best posterior less that of the encoder's, what is lost because one network serves all points.
- `nll_ais`, `nll_train`: -log p(x) by annealed importance sampling of test points and of as many training points;
  `generalisation_gap` is their difference.
- `nll_miselbo_excess`, `nll_matched_excess`, `nll_excess`: by how much these estimates are above `nll_ais`, on the same test
  points. Where not all test points were annealed, table ablation shows these estimates on other points than `nll_ais`.
- `nll_adaptive`: -log p(x) by a second method, adaptive importance sampling, for up to 20 latent dimensions. It should agree.
- `ais_gap`: on points that the model simulates, the estimate from above less that from below. It bounds the mean error there; that
  it carries over to test points is an assumption.
- `ais_sensitivity`: `nll_ais` with half as many temperatures less `nll_ais`.
- `ais_ess`: how many of the chains count, effectively; `ais_acceptance`: the share of accepted moves.
{hole}{reasons}
""",
    facts=_unmeasured,
)
OWN = Table(
    "metrics of own models",
    lambda sources: cells(sources, _own_metrics(sources), **_better(sources)),
    """\
A cell holds the mean over seeds [{spread} over seeds] of a metric that only models of users' own files have, on test points.

{bold}
{columns}
{stopped}{metrics}
{hole}{reasons}
""",
    facts=lambda frame, sources: _unmeasured(frame, sources) | {"metrics": _notes(sources)},
)
DENSITY = Table(
    "fit to the density",
    # this KL is to the true density, and not that of a latent code's posterior to its prior
    lambda sources: cells(sources, ("kl", "-elbo", "mass"), kl="min"),
    """\
A cell holds the mean over seeds [{spread} over seeds], in nats but for `mass`. A column is the flow behind the K Gaussians.

{bold}
{stopped}
- `kl`: KL(q || p) to the true density, summed over a grid; 0 is a perfect fit.
- `-elbo`: the same KL, estimated from samples of q. The bound of a normalised density is -KL.
- `mass`: the mass of q on the grid. `kl` is right where this is 1.
{hole}
""",
    headline=(("kl",), "KL to the truth in nats, lower is better; mean over seeds"),
)
