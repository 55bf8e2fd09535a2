"""Sheets of images: points of image data sets as rows of pictures."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mixvae.summary.figures.style import title, wrapped
from mixvae.summary.figures.view import View

IMAGES = 12
"""Images in a row."""
ROWS = 40
"""Rows of a figure."""


def as_images(view: View, x: Tensor) -> np.ndarray:
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


def image_rows(rows: dict[str, np.ndarray], text: str) -> Figure:
    """Draw labelled rows of images.

    Arguments:
        rows: The label and images (n, H, W, C) of every row; rows may hold different numbers of them.
        text: The title.
    """
    columns = max(len(images) for images in rows.values())
    figure, axes = plt.subplots(len(rows), 1, figsize=(0.52 * columns, 0.55 * len(rows)), squeeze=False)
    for (label, images), ax in zip(rows.items(), axes.flat, strict=True):
        blank = np.full((columns - len(images), *images.shape[1:]), white(images), dtype=images.dtype)
        show(ax, tile(np.concatenate([images, blank])[None]))
        ax.set_axis_off()
        ax.text(-0.01, 0.5, wrapped(label, 48), transform=ax.transAxes, ha="right", va="center", fontsize=7)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1, hspace=0.06)
    title(figure, text)
    return figure


def pixelcnn_note(view: View, runs: list[str]) -> str:
    """Return a note if the images of some runs are draws and not means, as those of a PixelCNN are, else an empty text."""
    return "of a PixelCNN draws of x" if any(view.spec(run).decoder.autoregressive for run in runs) else ""
