"""Table ablation has likelihoods by K and column, with paired differences to K = 1 and the control."""

import pandas as pd

from mixvae.study.metrics import BITS, part_annealed
from mixvae.summary.cells import Sources, cell, cells, frame_of, likelihoods
from mixvae.summary.results import controls_of
from mixvae.summary.tables.comparisons import differences
from mixvae.summary.tables.table import Table

NOTE = """\
Nats per test point; lower is better. A cell holds the mean over seeds [{spread} over seeds], and then Δ, the paired difference
to K = 1 in the same column, over the same seeds [its 95 % interval over test points].

{bold}
{columns}
- Where columns name their likelihoods, compare only columns of the same likelihood.
- "control": a constant predictor with the column's likelihood (nb for zinb), fitted on all training points.
{marks}
- `-elbo`: the MISELBO bound, from one sample per component at a time.
{annealed}- `nll_miselbo`: -1/K Σ_k log 1/L Σ_l w, the form published for mixture VAEs. For K > 1 it stays above -log p(x).
- `nll`: -log 1/(KL) Σ w with L samples from each component. More components get more samples, so do not compare K by it.
- `nll_matched`: the same estimator with L samples in all, whatever K is.{matched}
{bits}{hole} "(1 of 2)" says how many of the seeds are there.
"""
ANNEALED_NOTE = """\
- `nll_ais`: -log p(x) by annealed importance sampling, on {points} test points. Compare by this one unless it has a †: by
  experience it is the closest to the truth. The others stand beside it for comparison with published values.
"""
ELSEWHERE_NOTE = """\
  They are of all test points, which may be harder or easier, so do not subtract `nll_ais` from them: table gaps has what they
  differ by on the same points. For all points, -log p(x) is about `nll_matched` less its `nll_matched_excess` there.
"""
BITS_NOTE = """\
- `bpd` behind a name: the same in bits per dimension, nats / (D log 2), for likelihoods of discrete levels only. Published
  values compare with `nll_miselbo bpd`. The metric `bpd` in metrics.csv is made from `nll_ais`, or else from `nll`.
"""


def make(sources: Sources) -> pd.DataFrame:
    """Return the cells; those of the controls come last and have no K."""
    names, found = likelihoods(sources.info), differences(sources)
    frame = cells(sources, names, judged_by=dict(zip(names, names, strict=True)))
    to_one = found[found.against == 1].rename(columns={"low": "delta_low", "high": "delta_high"}).astype({"K": "Int64"})
    keys, added = ["metric", "K", "group"], ["delta", "delta_low", "delta_high", "compared"]
    frame = frame.drop(columns=added).merge(to_one[keys + added], on=keys, how="left").fillna({"compared": ""})
    controls, discrete = controls_of(sources.study), set(frame.group[frame.metric.str.endswith(BITS)])
    columns = {group.key: group for group in sources.groups.values() if group.runs[0] in controls}
    of_controls = [
        cell(sources, group._replace(runs=[controls[group.runs[0]]]), f"nll{end}", metric=f"control{end}", K=None)
        for end in ("", BITS)
        for group in columns.values()
        if not end or group.key in discrete
    ]
    return frame_of([*frame.to_dict("records"), *of_controls])


def _facts(frame: pd.DataFrame, sources: Sources) -> dict[str, str]:
    specs = [group.spec for group in sources.groups.values() if set(group.runs) & sources.mc_errors.keys()]
    part = part_annealed(specs, sources.info)
    annealed = ANNEALED_NOTE.format(points=part or "all") + (ELSEWHERE_NOTE if part else "")
    return {
        "bits": BITS_NOTE if frame.metric.str.endswith(BITS).any() else "",
        "annealed": annealed if specs else "",
        "matched": "" if specs else " Compare different K by this one.",
    }


TABLE = Table(
    "likelihoods",
    make,
    NOTE,
    facts=_facts,
    headline=(
        ("-elbo", "nll_ais", "nll_matched", f"nll_miselbo{BITS}"),
        "nats per test point, lower is better; mean over seeds (difference to K = 1)",
    ),
)
