"""Figure categories shows draws from the categories of clustering models, and from other models (Lavda et al., Fig. 7 to 9)."""

import numpy as np
import torch
from matplotlib.figure import Figure

from mixvae.summary.figures.images import as_images, show, tile
from mixvae.summary.figures.style import bare, panels, wrapped
from mixvae.summary.figures.view import View, usage

CATEGORIES, DRAWS, BLOCKS = 16, 8, 12
"""Rows of a block, images of a row, and blocks of the figure, at the most."""
PLAIN_ROWS = 10
"""Rows of a system without categories."""
USAGE_POINTS = 5000
"""Training points over which the use of a category is averaged."""


Block = tuple[str, list[str], np.ndarray]
"""What a run's block is called, the names of its rows, and its images, (rows, DRAWS, H, W, C)."""


@torch.inference_mode()
def draw(view: View) -> Figure | None:
    """Draw a block per run: a row per category (of many, the most used) or pseudo-input; else samples from the prior.

    If a system has a prior for every category, other priors stand beside it: VampPriors with as many pseudo-inputs, and one run
    of every column of single-prior systems.
    """
    runs = view.first_seeds()
    clustering = [run for run in runs if view.spec(run).categorises]
    if not clustering:
        return None
    counts = {view.spec(run).K for run in clustering if view.spec(run).has_category_priors}
    vamps = [run for run in runs if view.spec(run).vamp_inputs in counts]
    others = [run for run in runs if counts and run not in (*clustering, *vamps) and not view.spec(run).components_are_models]
    plain = {view.columns[run]: run for run in reversed(others)}
    shown = dict.fromkeys(clustering, _of_categories) | dict.fromkeys(vamps, _of_pseudo_inputs)
    shown |= dict.fromkeys(reversed(plain.values()), _of_prior)
    blocks = [make(view, run) for run, make in list(shown.items())[:BLOCKS]]
    tallest = max(len(images) for *_, images in blocks)
    figure, axes = panels([wrapped(name, 40) for name, *_ in blocks], 3, (0.36 * DRAWS + 0.7, 0.36 * tallest + 0.6))
    for (_, names, images), ax in zip(blocks, axes, strict=True):
        image = tile(images)
        show(ax, image)
        height = image.shape[0] / len(images)
        bare(ax)
        ax.set_yticks([(row + 0.5) * height for row in range(len(names))], names, fontsize=6.5)
        ax.tick_params(length=0)
        ax.set_anchor("N")
        ax.set_frame_on(False)
    text = f"{DRAWS} draws from each category, beside it the category and its share q(c) of the training points"
    return view.titled(figure, text, f"{BLOCKS} of {len(shown)} runs" if len(shown) > BLOCKS else "")


def _of_categories(view: View, run: str) -> Block:
    share = usage(view.model(run, "categories"), view.points(run, "train")[:USAGE_POINTS])
    chosen, most = list(range(len(share))), ""
    if len(share) > CATEGORIES:
        chosen = share.argsort(descending=True, stable=True)[:CATEGORIES].tolist()
        most = f", the {CATEGORIES} most used of {len(share)} categories"
    return _rows(view, run, {f"{c}: {100 * share[c]:.0f} %": c for c in chosen}, most)


def _of_pseudo_inputs(view: View, run: str) -> Block:
    count = view.spec(run).vamp_inputs
    shown = min(count, CATEGORIES)
    return _rows(view, run, {f"u{c}": c for c in range(shown)}, f", {shown} of its {count} pseudo-inputs u")


def _rows(view: View, run: str, numbers: dict[str, int], which: str) -> Block:
    model = view.model(run, "categories")
    images = np.stack([as_images(view, model.sample_component(number, DRAWS)) for number in numbers.values()])
    return f"{view.label(run)}{which}", list(numbers), images


def _of_prior(view: View, run: str) -> Block:
    images = as_images(view, view.model(run, "categories").sample(PLAIN_ROWS * DRAWS))
    return f"{view.label(run)}: samples from the prior", [], images.reshape(PLAIN_ROWS, DRAWS, *images.shape[1:])
