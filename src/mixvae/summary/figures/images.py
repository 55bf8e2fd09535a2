"""Figures samples, reconstructions and components are sheets of images, in which a row is a run or a component of one."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mixvae.summary.figures.style import wrapped
from mixvae.summary.figures.view import View

IMAGES, ROWS = 12, 40
"""Images in a row, and rows of a figure at the most."""


@torch.inference_mode()
def samples(view: View) -> Figure:
    """Draw images that every run generates from its prior, a row per run."""
    runs, note = view.fitting(ROWS)
    rows = {view.label(run): as_images(view, view.model(run, "samples").sample(IMAGES)) for run in runs}
    return view.titled(image_rows(rows), "samples from the prior, means of p(x|z)", pixelcnn_note(view, runs), note)


@torch.inference_mode()
def reconstructions(view: View) -> Figure:
    """Draw the test images as the runs see them, then a row of reconstructions per run."""
    runs, note = view.fitting(ROWS)
    seen: dict[str, np.ndarray] = {}
    made: dict[str, np.ndarray] = {}
    for run in runs:
        x = view.points(run, "test")[:IMAGES]
        seen.setdefault("test images, binarised" if view.spec(run).likelihood.binary else "test images", as_images(view, x))
        made[view.label(run)] = as_images(view, view.model(run, "reconstructions").reconstruct(x).mean(0))
    return view.titled(image_rows(seen | made), "reconstructions, mean over components", pixelcnn_note(view, runs), note)


@torch.inference_mode()
def components(view: View) -> Figure | None:
    """Draw test images and their reconstructions by every component of an M-VAE and by all (Ye & Bors, Fig. 2).

    Runs of a single component are shown only if there are no others.
    """
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
    return view.titled(image_rows(rows), "reconstructions by each component alone and by their mixture", which, note)


def as_images(view: View, x: torch.Tensor) -> np.ndarray:
    """Return points (N, D) as images (N, H, W, C) in [0, 1]."""
    return x.reshape(-1, *view.info.shape).clamp(0, 1).movedim(1, -1).cpu().numpy()


def tile(images: np.ndarray) -> np.ndarray:
    """Join images (rows, columns, H, W, C) into one, with a white line between them."""
    rows, columns, H, W, C = images.shape
    gap = max(1, H // 16)
    canvas = np.full((rows, H + gap, columns, W + gap, C), white(images), dtype=images.dtype)
    canvas[:, :H, :, :W] = images.transpose(0, 2, 1, 3, 4)
    return canvas.reshape(rows * (H + gap), columns * (W + gap), C)[:-gap, :-gap]


def white(images: np.ndarray) -> float:
    """Return the value that is white in images (..., C): 0 for grey levels, which are shown as ink, and 1 for colours."""
    return float(images.shape[-1] == 3)


def show(ax: Axes, image: np.ndarray) -> None:
    """Draw one (H, W, C) image: grey levels as ink, colours as they are."""
    ax.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")


def image_rows(rows: dict[str, np.ndarray]) -> Figure:
    """Draw rows of images, {label: (n, H, W, C)}, of which each may hold another number."""
    columns = max(len(images) for images in rows.values())
    figure, axes = plt.subplots(len(rows), 1, figsize=(0.52 * columns, 0.55 * len(rows)), squeeze=False)
    for (label, images), ax in zip(rows.items(), axes.flat, strict=True):
        blank = np.full((columns - len(images), *images.shape[1:]), white(images), dtype=images.dtype)
        show(ax, tile(np.concatenate([images, blank])[None]))
        ax.set_axis_off()
        ax.text(-0.01, 0.5, wrapped(label, 48), transform=ax.transAxes, ha="right", va="center", fontsize=7)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1, hspace=0.06)
    return figure


def pixelcnn_note(view: View, runs: list[str]) -> str:
    """Return a note if the images of some runs are draws and not means, as those of a PixelCNN are, else an empty text."""
    return "of a PixelCNN draws of x" if any(view.spec(run).decoder.autoregressive for run in runs) else ""
