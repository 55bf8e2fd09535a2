"""Figure maps: the two-dimensional codes of every component of M-VAEs (Ye & Bors, Fig. 3)."""

from matplotlib.figure import Figure

from mixvae.summary.figures.scatter import PANELS, codes, scatter
from mixvae.summary.figures.view import View


def draw(view: View) -> Figure | None:
    """Draw a panel per component."""
    runs = [run for run in view.columns if view.spec(run).components_are_models and view.spec(run).latent == 2]
    clouds = {}
    for run in view.first_seeds(runs):
        means, labels = codes(view, run)
        for k, mean in enumerate(means, start=1):
            part = f"component {k}" if len(means) > 1 else "a single VAE"
            clouds[f"{view.label(run)}, {part}"] = mean, labels
    note = f"the first {PANELS} of {len(clouds)} maps" if len(clouds) > PANELS else ""
    text = "posterior means of two-dimensional codes, training and test points"
    return scatter(view, dict(list(clouds.items())[:PANELS]), view.heading(text, note), ("z1", "z2"))
