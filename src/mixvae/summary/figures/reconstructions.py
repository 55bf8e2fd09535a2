"""Figure reconstructions: test images, and every run's reconstructions of them, averaged over its components."""

import numpy as np
import torch
from matplotlib.figure import Figure

from mixvae.summary.figures.images import IMAGES, ROWS, as_images, image_rows, pixelcnn_note
from mixvae.summary.figures.view import View


@torch.inference_mode()
def draw(view: View) -> Figure | None:
    """Draw the test images as the runs see them, then a row of reconstructions per run."""
    runs, note = view.fitting(ROWS)
    if not runs:
        return None
    seen: dict[str, np.ndarray] = {}
    made: dict[str, np.ndarray] = {}
    for run in runs:
        x = view.points(run, "test")[:IMAGES]
        seen.setdefault("test images, binarised" if view.spec(run).likelihood.binary else "test images", as_images(view, x))
        made[view.label(run)] = as_images(view, view.model(run, "reconstructions").reconstruct(x).mean(0))
    return image_rows(seen | made, view.heading("reconstructions, mean over components", pixelcnn_note(view, runs), note))
