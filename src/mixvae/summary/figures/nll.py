"""Figure nll: the likelihoods of test points against K."""

import math

import pandas as pd
from matplotlib.figure import Figure

from mixvae.study.metrics import made_from, metric_of
from mixvae.summary.cells import COMPARABLE, UNRELIABLE_SHARE
from mixvae.summary.figures.curves import against_k, seeds_averaged
from mixvae.summary.figures.style import CURVE, title
from mixvae.summary.figures.view import View


def draw(view: View) -> Figure | None:
    """Draw a panel per likelihood, with a row of panels for each measure, since measures do not compare."""
    colour = view.info.kind == "colour_image"
    nats = math.prod(view.info.shape) * math.log(2) if colour else 1.0
    frames = []
    for block in COMPARABLE:
        rows = view.metrics[(view.metrics.metric == made_from(block)) & view.metrics.run.isin(view.columns)]
        sign = -1.0 if block.startswith("-") else 1.0
        measure = rows.run.map(lambda run: view.spec(run).likelihood.measure)
        frames.append(rows.assign(panel=block, row=measure, y=sign * rows.value / nats, **{CURVE: rows.run.map(view.columns)}))
    data = pd.concat(frames, ignore_index=True).dropna(subset="y")
    if data.empty:
        return None
    circled = set()
    for block in COMPARABLE:
        shares = view.metrics[(view.metrics.metric == metric_of(block).rests_on) & view.metrics.run.isin(view.columns)]
        means = shares.groupby(["K", shares.run.map(view.columns)])["value"].mean()
        circled |= {(block, *cell) for cell in means.index[means >= UNRELIABLE_SHARE]}
    unit = "bits per dimension" if colour else "nats per test point"
    figure = against_k(data, COMPARABLE, f"{unit},\nlower is better", circled)
    note = f"circled: Pareto k above 0.7 for {UNRELIABLE_SHARE:.0%} of the points or more" if circled else ""
    title(figure, view.heading(f"likelihood of test points against K, {seeds_averaged(data)}", note))
    return figure
