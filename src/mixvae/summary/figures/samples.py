"""Figure samples: images that every run generates from its prior."""

import torch
from matplotlib.figure import Figure

from mixvae.summary.figures.images import IMAGES, ROWS, as_images, image_rows, pixelcnn_note
from mixvae.summary.figures.view import View


@torch.inference_mode()
def draw(view: View) -> Figure | None:
    """Draw a row of images per run."""
    runs, note = view.fitting(ROWS)
    if not runs:
        return None
    rows = {view.label(run): as_images(view, view.model(run, "samples").sample(IMAGES)) for run in runs}
    return image_rows(rows, view.heading("samples from the prior, means of p(x|z)", pixelcnn_note(view, runs), note))
