"""Table reconstruction: squared errors, Inception Score and dependence of codes.

Ye & Bors, "Mixtures of Variational Autoencoders", tables I and III.
"""

import pandas as pd

from mixvae.summary.cells import NOT_MEASURED, UNDEFINED, Sources, best, cells, stopped
from mixvae.summary.rendering import COLUMNS_NOTE, HOLE, STOPPED_NOTE, Grid, intervals, spread

TITLE = "reconstructions"
ROWS = ("metric", "K")
HEADLINE = (("mse",), "squared error, lower is better; mean over seeds")
METRICS = (
    "mse", "rmse", "inception_score",
    *(f"{name}{end}" for name in ("dhsic", "hsic_pairs") for end in ("", "_null_median", "_null_95")),
)  # fmt: skip
"""Each measure of dependence is followed by the values that independent codes would give."""
NOTE = """\
Mean over seeds [{spread} over seeds], of test points under a Gaussian likelihood. Bold: best of its column. K = 1 is the single VAE.
{columns}
{stopped}

- `mse`: squared error summed over the numbers of a point, which lie in [0, 1]; `rmse`: the root of its mean.
- `inception_score`: of images made from the prior, higher is better.
- `dhsic`: dependence of the components' codes; `_null_median` and `_null_95` are what permuted, hence independent codes give, and
  only a value above them shows dependence. `hsic_pairs` is the sum over all pairs of components, beside its own null.
- "{hole}": runs that failed, see failures.csv.{reasons}
"""


def make(sources: Sources) -> pd.DataFrame:
    """Return the cells."""
    frame = cells(sources, METRICS)
    frame["stopped_by_budget"] = stopped(frame, sources)
    frame["best"] = best(frame)
    return frame


def grids(frame: pd.DataFrame) -> list[Grid]:
    """Return the table laid out."""
    return [spread(frame)]


def note(frame: pd.DataFrame, sources: Sources) -> str:
    """Return the explanation that stands below the table, with the reasons for what was not measured."""
    found = [reason.removeprefix(f"{NOT_MEASURED}: ") for reason in frame.unmeasured.dropna().unique() if reason != UNDEFINED]
    reasons = "".join(f'\n- "{NOT_MEASURED}": {reason}.' for reason in found)
    return NOTE.format(spread=intervals(frame), columns=COLUMNS_NOTE, stopped=STOPPED_NOTE, hole=HOLE, reasons=reasons)
