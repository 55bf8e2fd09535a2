"""Draws from every category of the clustering models, beside what other systems generate (Lavda et al., Fig. 7 to 9)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mixvae.study.outputs import CLUSTERING
from mixvae.summary.figures.images import as_images, show, tile
from mixvae.summary.figures.style import bare, panels, title, wrapped
from mixvae.summary.figures.view import View, heading

CATEGORIES, DRAWS, BLOCKS = 16, 8, 12
USAGE_POINTS = 5000
"""Training points over which the use of a category is averaged."""


class Block(NamedTuple):
    """One system's images, (rows, DRAWS, H, W, C), the names of the rows, and what the block is called."""

    images: np.ndarray
    names: list[str]
    title: str


def usage(model: torch.nn.Module, x: Tensor) -> Tensor:
    """Return q(c), the mean of q(c|x) over (N, D), as (C,)."""
    return torch.cat([model.categories(chunk) for chunk in x.split(500)]).mean(0)


def categories(view: View) -> Figure | None:
    """Draw a block per run: a row per category, those most used where there are many; systems without categories as they come."""
    runs = view.first_seeds()
    clustering = [run for run in runs if view.spec(run).model in CLUSTERING]
    if not clustering:
        return None
    counts = {view.spec(run).K for run in clustering if view.spec(run).model == "cpvae"}
    beside = [run for run in runs if _is_vamp(view, run, counts)] if counts else []
    plain = {view.columns[run]: run for run in reversed(runs) if run not in beside and _is_plain(view, run)} if counts else {}
    shown = [*clustering, *beside, *reversed(plain.values())]
    note = f"{BLOCKS} of {len(shown)} runs" if len(shown) > BLOCKS else ""
    with torch.inference_mode():
        blocks = [_block(view, run, run in clustering, run in beside) for run in shown[:BLOCKS]]
    tallest = max(len(block.images) for block in blocks)
    figure, axes = panels(len(blocks), 3, (0.36 * DRAWS + 0.7, 0.36 * tallest + 0.6))
    for block, ax in zip(blocks, axes, strict=True):
        image = tile(block.images)
        show(ax, image)
        height = image.shape[0] / len(block.images)
        bare(ax)
        ax.set_yticks([(row + 0.5) * height for row in range(len(block.names))], block.names, fontsize=6.5)
        ax.tick_params(length=0)
        ax.set_title(wrapped(block.title, 40), fontsize=7)
        ax.set_anchor("N")
        ax.set_frame_on(False)
    text = f"{DRAWS} draws from each category, beside it the category and its share q(c) of the training points"
    title(figure, heading(view, text, note))
    return figure


def _is_vamp(view: View, run: str, counts: set[int]) -> bool:
    spec = view.spec(run)
    return spec.model == "vae" and spec.K == 1 and spec.prior.name == "vamp" and spec.prior.components in counts


def _is_plain(view: View, run: str) -> bool:
    return view.spec(run).model in ("vae", "hvae")


def _block(view: View, run: str, clustering: bool, vamp: bool) -> Block:
    model, label = view.model(run, "categories"), view.label(run)
    if not (clustering or vamp):
        rows = min(10, CATEGORIES)
        images = as_images(view, model.sample(rows * DRAWS))
        return Block(images.reshape(rows, DRAWS, *images.shape[1:]), [], f"{label}: samples from the prior")
    if clustering:
        share = usage(model, view.points(run, "train")[:USAGE_POINTS])
        chosen = (
            range(len(share)) if len(share) <= CATEGORIES else share.argsort(descending=True, stable=True)[:CATEGORIES].tolist()
        )
        names = [f"{c}: {100 * share[c]:.0f} %" for c in chosen]
        most = f", the {CATEGORIES} most used of {len(share)} categories" if len(share) > CATEGORIES else ""
    else:
        count = model.prior.components
        chosen, names = range(min(count, CATEGORIES)), [f"u{c}" for c in range(min(count, CATEGORIES))]
        most = f", {len(chosen)} of its {count} pseudo-inputs u"
    images = np.stack([as_images(view, model.sample_category(c, DRAWS)) for c in chosen])
    return Block(images, names, f"{label}{most}")
