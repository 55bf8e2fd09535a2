"""Figure components: test images, and their reconstructions by every component of an M-VAE and by all (Ye & Bors, Fig. 2)."""

import numpy as np
import torch
from matplotlib.figure import Figure

from mixvae.summary.figures.images import IMAGES, ROWS, as_images, image_rows
from mixvae.summary.figures.view import View


@torch.inference_mode()
def draw(view: View) -> Figure | None:
    """Draw a block of rows per run; runs of a single component are shown only if there are no others."""
    every = view.first_seeds(run for run in view.columns if view.spec(run).components_are_models)
    several = [run for run in every if view.spec(run).K > 1] or every
    if not several:
        return None
    # as many as there is room for, the smallest K of every column first
    several = sorted(several, key=lambda run: view.spec(run).K)
    sizes = np.cumsum([view.spec(run).K + 2 for run in several])
    shown = several[: max(1, int((sizes <= ROWS).sum()))]
    rows: dict[str, np.ndarray] = {}
    for run in shown:
        x, model = view.points(run, "test")[:IMAGES], view.model(run, "components")
        block = {"test images": x}
        block |= {f"component {k}": part for k, part in enumerate(model.reconstruct_components(x), start=1)}
        block["mixture"] = model.reconstruct(x).mean(0)
        name = f"{view.label(run)}: " if len(shown) > 1 else ""
        rows |= {f"{name}{part}": as_images(view, images) for part, images in block.items()}
    which = view.label(shown[0]) if len(shown) == 1 else ""
    note = f"{len(shown)} of {len(several)} runs" if len(shown) < len(several) else ""
    return image_rows(rows, view.heading("reconstructions by each component alone and by their mixture", which, note))
