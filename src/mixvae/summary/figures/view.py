"""A View is what figures are drawn from: the runs of a study on one data set, with their metrics, files and models."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn

from mixvae.data import prepared
from mixvae.data.prepared import Prepared
from mixvae.data.view import to_measure_on
from mixvae.fitting.runs import load_run
from mixvae.seeds import derive
from mixvae.study import DatasetInfo, Run
from mixvae.summary.columns import column_names
from mixvae.summary.figures.style import natural, title
from mixvae.summary.results import StudyRuns

MODELS_KEPT = 40
"""Models in memory at a time: as many as a figure of rows of images shows, so that the next one finds them loaded."""


@dataclass(frozen=True)
class View:
    """The runs of a study on one data set.

    missing: Runs that are not complete.
    root: The folder with runs/, datasets/ and the study's own.
    """

    study: StudyRuns
    dataset: str
    metrics: pd.DataFrame
    missing: set[str]
    root: Path

    @cached_property
    def columns(self) -> dict[str, str]:
        """The table column of every complete run."""
        return {run: name for run, name in column_names(self.study, self.dataset).items() if run not in self.missing}

    @property
    def info(self) -> DatasetInfo:
        """The description of the data set."""
        return self.study.datasets[self.dataset]

    @cached_property
    def data(self) -> Prepared:
        """The data set."""
        return prepared.load(self.root / "datasets" / self.dataset)

    def spec(self, run: str) -> Run:
        """Return a run's spec."""
        return self.study.runs[run]

    def folder(self, run: str) -> Path:
        """Return where a run's results lie."""
        return self.root / "runs" / run

    def table(self, kind: str) -> pd.DataFrame:
        """Return a table of the data set as it was written."""
        return pd.read_csv(self.root / self.study.name / "tables" / f"{kind}_{self.dataset}.csv")

    def label(self, run: str) -> str:
        """Return a run's label: its column and K, without the seed."""
        return f"{self.columns[run]}, K={self.spec(run).K}"

    @cached_property
    def _loaded(self) -> Callable[[str], nn.Module]:
        return lru_cache(MODELS_KEPT)(lambda run: load_run(self.folder(run), self.spec(run), self.data).eval())

    def model(self, run: str, figure: str) -> nn.Module:
        """Return a run's model, and seed torch for what `figure` draws from it."""
        model = self._loaded(run)
        torch.manual_seed(derive(self.spec(run).seed, "figures", *figure.encode()))
        return model

    def points(self, run: str, part: str) -> torch.Tensor:
        """Return a part of the data as the run sees it, (N, D)."""
        return to_measure_on(self.data, self.spec(run), part).x

    def first_seeds(self, runs: Iterable[str] | None = None) -> list[str]:
        """Return the run with the lowest seed for every column and K of `runs`, by default all, in order of column and K."""
        given = sorted(self.columns if runs is None else runs, key=lambda run: self.spec(run).seed, reverse=True)
        chosen = {(self.columns[run], self.spec(run).K): run for run in given}
        return [chosen[key] for key in sorted(chosen, key=lambda key: (natural(key[0]), key[1]))]

    def fitting(self, most: int) -> tuple[list[str], str]:
        """Return those of `first_seeds` that fit into `most` places, and a note that says which K these are, empty if all fit.

        Without room for every K: the smallest and largest of every column, else the largest, else that of the first columns.
        """
        every = self.first_seeds()
        by_column: dict[str, list[str]] = defaultdict(list)
        for run in every:
            by_column[self.columns[run]].append(run)
        ends = [run for members in by_column.values() for run in dict.fromkeys((members[0], members[-1]))]
        last = [members[-1] for members in by_column.values()]
        notes = ("", "the smallest and largest K of each column", "the largest K of each column")
        for chosen, note in zip((every, ends, last), notes, strict=True):
            if len(chosen) <= most:
                return chosen, note
        return last[:most], f"the largest K of the first {most} of {len(last)} columns"

    def titled(self, figure: Figure, text: str, *notes: str) -> Figure:
        """Put a title above a figure: the data set, what is shown, and the notes that are not empty; return the figure."""
        title(figure, "; ".join([f"{self.dataset}: {text}", *filter(None, notes)]))
        return figure


def usage(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return q(c), (C,): the mean of q(c|x) over points x, (N, D)."""
    return torch.cat([model.categories(chunk) for chunk in x.split(500)]).mean(0)
