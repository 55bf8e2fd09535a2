"""Table ablation: likelihoods by K and column, with paired differences to K = 1 and the control."""

import pandas as pd

from mixvae.study.metrics import BITS
from mixvae.summary.cells import COLUMNS, COMPARABLE, Sources, best, cells, frame_of, likelihoods, origin, stopped, summary
from mixvae.summary.rendering import COLUMNS_NOTE, HOLE, MARKS_NOTE, Grid, intervals, spread
from mixvae.summary.results import controls_of

TITLE = "likelihoods"
ROWS = ("metric", "K")
HEADLINE = (
    ("-elbo", "nll_matched", f"nll_miselbo{BITS}"),
    "nats per test point, lower is better; mean over seeds (difference to K = 1)",
)
NOTE = """\
Nats per test point, lower is better; mean over seeds [{spread} over seeds]. Δ is the paired difference to K = 1 of the same
column, on the same seeds, with its 95 % interval over test points. Bold: best of its column. "control" is a constant predictor
with the column's likelihood (nb for zinb), fitted on all training points. Where columns name their likelihoods, only those of
the same one compare.
{columns}
{marks}

- `-elbo`: the MISELBO bound, one sample per component at a time.
- `nll_miselbo`: -1/K Σ_k log 1/L Σ_l w, the form published for mixture VAEs; for K > 1 it stays above -log p(x).
- `nll`: -log 1/(KL) Σ w with L samples from each component: K times as many for K components, so not for comparing K.
- `nll_matched`: the same estimator with L samples in all whatever K: the one to compare different K by.
{bits}- "{hole}": runs that failed, see failures.csv; "(1 of 2)": how many seeds are there.
"""
BITS_NOTE = """\
- `bpd` behind a name: the same in bits per dimension, nats / (D log 2), for likelihoods of discrete levels only. Published values
  compare with `nll_miselbo bpd`; the metric `bpd` in metrics.csv is made from `nll`.
"""


def make(sources: Sources) -> pd.DataFrame:
    """Return the cells; those of the controls come last and have no K."""
    frame = cells(sources, likelihoods(sources.info))
    found = sources.differences
    to_one = found.loc[found.against == 1, ["metric", "K", "group", "delta", "low", "high", "compared"]]
    to_one = to_one.rename(columns={"low": "delta_low", "high": "delta_high"}).astype({"K": "Int64"})
    frame = frame.drop(columns=["delta", "delta_low", "delta_high", "compared"])
    frame = frame.merge(to_one, on=["metric", "K", "group"], how="left").fillna({"compared": ""})[COLUMNS]
    frame["unreliable"] = [sources.unreliable(runs.split(), name) for runs, name in zip(frame.runs, frame.metric, strict=True)]
    frame["stopped_by_budget"] = stopped(frame, sources)
    compares = frame.metric.str.removesuffix(BITS).isin(COMPARABLE)
    frame["best"] = best(frame) & ~frame.unreliable & compares
    discrete = set(frame.group[frame.metric.str.endswith(BITS)])
    return frame_of([*frame.to_dict("records"), *_controls(sources, discrete)])


def _controls(sources: Sources, discrete: set[str]) -> list[dict]:
    """Return the cells of every column's control: its negative log-likelihood, for groups in `discrete` also in bits."""
    controls = controls_of(sources.study)
    columns = {group.key: group for group in sources.groups.values() if group.runs[0] in controls}
    return [
        {"metric": f"control{end}", "column": group.column, **summary(sources, [controls[group.runs[0]]], f"nll{end}")}
        | origin(group.key, f"nll{end}", sources.info, [controls[group.runs[0]]])
        for end in ("", BITS)
        for group in columns.values()
        if not end or group.key in discrete
    ]


def grids(frame: pd.DataFrame) -> list[Grid]:
    """Return the table laid out."""
    return [spread(frame)]


def note(frame: pd.DataFrame, sources: Sources) -> str:
    """Return the explanation that stands below the table."""
    return NOTE.format(
        spread=intervals(frame),
        columns=COLUMNS_NOTE,
        marks=MARKS_NOTE,
        bits=BITS_NOTE if frame.metric.str.endswith(BITS).any() else "",
        hole=HOLE,
    )
