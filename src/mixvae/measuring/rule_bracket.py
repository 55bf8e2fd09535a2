"""Rule bracket measures the likelihood of a trained run's points by annealed importance sampling, and the gap to its bound."""

from pathlib import Path

import numpy as np
import torch

from mixvae.data.view import subset_indices, to_measure_on
from mixvae.files import atomic, write_json
from mixvae.measuring.bracket import Points, bracket
from mixvae.measuring.chunks import unfinished
from mixvae.measuring.recording import measuring
from mixvae.study import Run


def bracket_run(spec: Run, run: Path, dataset: Path, gpu: int) -> None:
    """Write the annealed likelihoods of a run's points and what they tell: bracket.json and bracket.npz.

    Arguments and errors are those of `mixvae.measuring.recording.measuring`.
    """
    settings = spec.annealing
    with measuring("bracket", spec, run, dataset, gpu) as (folder, facts, data, model):
        test = to_measure_on(data, spec, "test", min(settings.points, spec.test_points or settings.points))
        train = to_measure_on(data, spec, "train", min(len(test.x), spec.training_points or len(test.x)))
        every = len(data.arrays["y_test"])
        first = np.isin(test.indices, subset_indices(every, settings.gap_points))
        positions = np.searchsorted(subset_indices(every, spec.test_points), test.indices)
        points = [Points(part.x, part.x, torch.from_numpy(part.indices)) for part in (test, train)]
        with unfinished(folder, facts) as store:
            measured, arrays = bracket(model, settings, spec.seed, *points, torch.from_numpy(first), store)
            with atomic(folder / "bracket.npz") as temporary:
                np.savez(temporary, positions=positions, first=np.flatnonzero(first), **arrays)
            write_json(folder / "bracket.json", {"metrics": measured, **settings.model_dump(), "points": len(test.x)})
