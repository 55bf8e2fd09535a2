"""Gives figures their common look (titles, legends, panels), and writes them to files."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mixvae.files import atomic

DPI = 160
LEGEND_CHARACTERS, LEGEND_HANDLE = 14, 6
"""Characters of a legend's text per inch, and the room for the line or point beside it."""

sns.set_theme(style="whitegrid", context="paper")
# text in a PDF stays text, and the names of fonts have no digests
plt.rcParams["pdf.fonttype"] = 42
# an axis shows its numbers in full and not as offsets
plt.rcParams["axes.formatter.useoffset"] = False


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and PDF beside each other, without the time of writing in either."""
    for suffix, metadata in ((".png", {}), (".pdf", {"CreationDate": None})):
        with atomic(path.with_suffix(suffix)) as temporary:
            figure.savefig(temporary, dpi=DPI, bbox_inches="tight", metadata=metadata)
    plt.close(figure)


def wrapped(text: str, width: int, lines: int = 4) -> str:
    """Break a text into lines of at most `width` characters; what does not fit into `lines` of them ends in an ellipsis."""
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" …", break_on_hyphens=False))


def natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers within texts by size: latent=2 before latent=10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text) if part]


def _settle(figure: Figure) -> None:
    """Give the axes their final places, so that what is put around them neither moves nor overlaps them."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def title(figure: Figure, text: str) -> None:
    """Put a title above everything else in the figure, broken to its width."""
    _settle(figure)
    above = figure.get_tightbbox().y1
    width, height = figure.get_size_inches()
    text = wrapped(text, max(40, int(13 * width)), lines=6)
    figure.suptitle(text, x=0.5, y=(above + 0.12) / height, va="bottom", fontsize=10)


def legend_below(figure: Figure, looks: Mapping[str, Mapping[str, Any]]) -> None:
    """Put a legend of lines, {name: look}, under everything else in the figure, in as many columns as its width holds."""
    _settle(figure)
    width, height = figure.get_size_inches()
    across = int(LEGEND_CHARACTERS * width)
    names = [wrapped(name, across // (2 if len(looks) <= 12 else 3) - LEGEND_HANDLE) for name in looks]
    longest = max(len(line) for name in names for line in name.splitlines())
    columns = max(1, min(len(names), across // (longest + LEGEND_HANDLE)))
    below = figure.get_tightbbox().y0
    figure.legend(
        [Line2D([], [], **look) for look in looks.values()], names, ncol=columns, loc="upper center", frameon=False, fontsize=8,
        bbox_to_anchor=(0.5, (below - 0.08) / height),
    )  # fmt: skip


def bare(ax: Axes) -> None:
    """Take ticks and grid off axes whose numbers mean nothing."""
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)


def panels(titles: Sequence[str], across: int, size: tuple[float, float], **options) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel per title, at most `across` in a row, of `size` inches each; options are for subplots."""
    rows = -(-len(titles) // across)
    columns = -(-len(titles) // rows)
    figure, axes = plt.subplots(
        rows, columns, figsize=(size[0] * columns, size[1] * rows), squeeze=False, layout="constrained", **options
    )
    shown, empty = axes.flat[: len(titles)], axes.flat[len(titles) :]
    for name, ax in zip(titles, shown, strict=True):
        ax.set_title(name, fontsize=7)
        ax.tick_params(labelsize=7)
    for ax in empty:
        ax.set_visible(False)
    for ax in shown[-columns:]:
        # with a shared axis only the last row has numbers, and there some places are empty
        ax.tick_params(labelbottom=True)
    return figure, list(shown)


def axes_named(figure: Figure, x: str, y: str) -> None:
    """Name the axes of all panels at once."""
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(y, fontsize=9)
