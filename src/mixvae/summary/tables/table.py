"""`Table` is one kind of table; the lines that the notes below several tables share are here too."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd

from mixvae.summary.cells import AIS_GAP, MC_ERROR, UNRELIABLE_SHARE, Sources
from mixvae.summary.rendering import HOLE, Grid, spread

MARKS = (
    f"†: doubtful, because it is more than {MC_ERROR} nats above another estimate of the same points; nll_ais also if its Monte\n"
    f"  Carlo error is above {MC_ERROR} or ais_gap above {AIS_GAP}; without nll_ais, because Pareto k is above 0.7 for\n"
    f"  {UNRELIABLE_SHARE:.0%} of the test points or more.",
    "‡: training ran out of epochs before it stopped improving.",
)
SHARED = {
    "columns": """\
- Columns are named prior+flow, with the model in front if there are several models. mog(10) is a prior of 10 components. In
  brackets stands what else tells columns apart: encoder/decoder, widths as layers x units, other settings by name, and
  "IWAE L=2" for training on the bound of 2 samples.""",
    "bold": "- Bold: the best K of its column, for each metric.",
    "marks": "\n".join(f"- {mark}" for mark in MARKS),
    "stopped": f"- {MARKS[1]}",
    "hole": f'- "{HOLE}": the runs failed, see failures.csv.',
}
"""Lines of notes by the name that stands for them in `Table.template`."""


class Table(NamedTuple):
    """One kind of table.

    make: Returns the rows of the .csv.
    template: The note that explains the table, with the names of SHARED, of the intervals over seeds, and of `facts` in braces.
    keys: The columns that name a row of the page.
    grids: Lays the rows out for people.
    facts: Returns the texts that the note has of these rows.
    headline: The quantities that the terminal shows, and a description.
    """

    title: str
    make: Callable[[Sources], pd.DataFrame]
    template: str
    keys: tuple[str, ...] = ("metric", "K")
    grids: Callable[[pd.DataFrame], list[Grid]] = lambda frame: [spread(frame)]
    facts: Callable[[pd.DataFrame, Sources], dict[str, Any]] = lambda frame, sources: {}
    headline: tuple[tuple[str, ...], str] = ((), "")

    def note(self, frame: pd.DataFrame, sources: Sources) -> str:
        """Return the explanation that stands below the table."""
        kinds = frame["interval"].dropna().unique() if "interval" in frame else ()
        return self.template.format(**SHARED, spread=" or ".join(kinds) or "min-max", **self.facts(frame, sources))


def reasons(lines: dict[str, list[str]]) -> str:
    """Return the end of a note: a line for every reason that has names."""
    return "".join(f"- {reason}: {'; '.join(names)}.\n" for reason, names in lines.items() if names)
