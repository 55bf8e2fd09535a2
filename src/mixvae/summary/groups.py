"""Groups the runs that differ in nothing but the seed, and pairs the groups that tables compare."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from mixvae.study import Run
from mixvae.summary.columns import column_names
from mixvae.summary.results import StudyRuns


class Group(NamedTuple):
    """The runs that a cell summarises: they differ in nothing but the seed.

    key: `spec.group`, which the runs of other K in the same column share.
    column: The name of that column.
    """

    key: str
    K: int
    column: str
    runs: list[str]
    spec: Run

    @property
    def text(self) -> str:
        """The group's name in notes."""
        return f"{self.column}, K = {self.K}"


Groups = dict[tuple[int, str], Group]
"""Groups by (K, key), in order of K."""


def groups_of(study: StudyRuns, dataset: str) -> Groups:
    """Return the groups of a data set's runs, without the controls."""
    groups: Groups = {}
    for run, column in column_names(study, dataset).items():
        spec = study.runs[run]
        groups.setdefault((spec.K, spec.group), Group(spec.group, spec.K, column, [], spec)).runs.append(run)
    return dict(sorted(groups.items(), key=lambda item: item[0][0]))


def next_smaller(cells: Iterable[tuple[int, str]]) -> dict[tuple[int, str], int]:
    """Return for every cell (K, key) the next smaller K of its key, where it has one; cells come in order of K."""
    found, last = {}, {}
    for K, key in cells:
        if key in last:
            found[K, key] = last[key]
        last[key] = K
    return found


def pairs(cells: Collection[tuple[int, str]]) -> list[tuple[int, int, str]]:
    """Return the pairs to compare, (K, against, key): every K against K = 1 and the next smaller K, where its key has them."""
    return [
        (K, against, key)
        for (K, key), smaller in next_smaller(cells).items()
        for against in dict.fromkeys((1, smaller))
        if (against, key) in cells
    ]
