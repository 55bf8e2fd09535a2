"""Rows of images: draws of the prior, reconstructions, and the components of an M-VAE."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mixvae.summary.figures.style import title, wrapped
from mixvae.summary.figures.view import View, heading

IMAGES = 12
ROWS = 40
COMPONENT_ROWS = 40


def samples(view: View) -> Figure | None:
    """Draw images from every run's prior."""
    runs, note = view.fitting(ROWS)
    if not runs:
        return None
    rows = {}
    with torch.inference_mode():
        for run in runs:
            rows[view.label(run)] = as_images(view, view.model(run, "samples").sample(IMAGES))
    return image_rows(rows, heading(view, "samples from the prior, means of p(x|z)", _draws(view, runs), note))


def reconstructions(view: View) -> Figure | None:
    """Draw test images and every run's reconstructions, averaged over the components."""
    runs, note = view.fitting(ROWS)
    if not runs:
        return None
    rows: dict[str, np.ndarray] = {}
    for run in runs:
        name = "test images, binarised" if view.spec(run).likelihood.name == "bernoulli" else "test images"
        rows.setdefault(name, as_images(view, view.points(run, "test")[:IMAGES]))
    with torch.inference_mode():
        for run in runs:
            images = view.model(run, "reconstructions").reconstruct(view.points(run, "test")[:IMAGES]).mean(0)
            rows[view.label(run)] = as_images(view, images)
    return image_rows(rows, heading(view, "reconstructions, mean over components", _draws(view, runs), note))


def components(view: View) -> Figure | None:
    """Draw test images, what each component of an M-VAE makes of them, and the mixture's output (Ye & Bors, Fig. 2)."""
    every = view.first_seeds(run for run in view.columns if view.spec(run).model == "mvae")
    several = [run for run in every if view.spec(run).K > 1] or every
    if not several:
        return None
    # as many as there is room for, the smallest K of every column first
    several = sorted(several, key=lambda run: view.spec(run).K)
    sizes = np.cumsum([view.spec(run).K + 2 for run in several])
    shown = several[: max(1, int((sizes <= COMPONENT_ROWS).sum()))]
    rows: dict[str, np.ndarray] = {}
    with torch.inference_mode():
        for run in shown:
            x, model = view.points(run, "test")[:IMAGES], view.model(run, "components")
            block = {"test images": x}
            block |= {f"component {k}": part for k, part in enumerate(model.reconstruct_components(x), start=1)}
            block["mixture"] = model.reconstruct(x).mean(0)
            name = f"{view.label(run)}: " if len(shown) > 1 else ""
            rows |= {f"{name}{part}": as_images(view, images) for part, images in block.items()}
    which = view.label(shown[0]) if len(shown) == 1 else ""
    note = f"{len(shown)} of {len(several)} runs" if len(shown) < len(several) else ""
    return image_rows(rows, heading(view, "reconstructions by each component alone and by their mixture", which, note))


def _draws(view: View, runs: list[str]) -> str:
    return "of a PixelCNN draws of x" if any(view.spec(run).decoder.name == "pixelcnn" for run in runs) else ""


def as_images(view: View, x: Tensor) -> np.ndarray:
    """Return (N, D) as images (N, H, W, C) in [0, 1]."""
    return x.reshape(-1, *view.shape).clamp(0, 1).movedim(1, -1).cpu().numpy()


def tile(images: np.ndarray) -> np.ndarray:
    """Join images (rows, columns, H, W, C) into one, with a white line between them."""
    rows, columns, H, W, C = images.shape
    # ink is dark: 0 is white for greys, and 1 is for colours
    gap = max(1, H // 16)
    canvas = np.full((rows, H + gap, columns, W + gap, C), float(C == 3), dtype=images.dtype)
    canvas[:, :H, :, :W] = images.transpose(0, 2, 1, 3, 4)
    return canvas.reshape(rows * (H + gap), columns * (W + gap), C)[:-gap, :-gap]


def show(ax: Axes, image: np.ndarray) -> None:
    """Draw one (H, W, C) image: grey levels as ink, colours as they are."""
    ax.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")


def image_rows(rows: dict[str, np.ndarray], text: str) -> Figure:
    """Draw labelled rows of images.

    Arguments:
        rows: Label and (n, H, W, C) images of every row; rows may hold different numbers of them.
        text: The title.
    """
    columns = max(len(images) for images in rows.values())
    figure, axes = plt.subplots(len(rows), 1, figsize=(0.52 * columns, 0.55 * len(rows)), squeeze=False)
    for (label, images), ax in zip(rows.items(), axes.flat, strict=True):
        missing = columns - len(images)
        blank = np.full((missing, *images.shape[1:]), float(images.shape[-1] == 3), dtype=images.dtype)
        show(ax, tile(np.concatenate([images, blank])[None]))
        ax.set_axis_off()
        ax.text(-0.01, 0.5, wrapped(label, 48), transform=ax.transAxes, ha="right", va="center", fontsize=7)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1, hspace=0.06)
    title(figure, text)
    return figure
