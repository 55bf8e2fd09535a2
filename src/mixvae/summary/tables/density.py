"""Table density: how well posteriors fit a density, by the KL on a grid, the bound, and the mass on the grid."""

import pandas as pd

from mixvae.summary.cells import Sources, best, cells, stopped
from mixvae.summary.rendering import HOLE, STOPPED_NOTE, Grid, intervals, spread

TITLE = "fit to the density"
ROWS = ("metric", "K")
HEADLINE = (("kl",), "KL to the truth in nats, lower is better; mean over seeds")
NOTE = """\
Nats; mean over seeds [{spread} over seeds]. Bold: best of its column. A column is the flow behind the K Gaussians.
{stopped}

- `kl`: KL(q || p) to the true density, summed over a grid; 0 is a perfect fit.
- `-elbo`: the same KL as estimated from samples of q, since the bound of a normalised density is -KL.
- `mass`: of q on the grid; `kl` is right where it is 1.
- "{hole}": runs that failed, see failures.csv.
"""


def make(sources: Sources) -> pd.DataFrame:
    """Return the cells."""
    frame = cells(sources, ("kl", "-elbo", "mass"))
    frame["stopped_by_budget"] = stopped(frame, sources)
    frame["best"] = best(frame, kl="min")  # this KL is to the true density, and not that of a code's posterior to its prior
    return frame


def grids(frame: pd.DataFrame) -> list[Grid]:
    """Return the table laid out."""
    return [spread(frame)]


def note(frame: pd.DataFrame, sources: Sources) -> str:
    """Return the explanation that stands below the table."""
    return NOTE.format(spread=intervals(frame), stopped=STOPPED_NOTE, hole=HOLE)
