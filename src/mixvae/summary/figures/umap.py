"""Figure umap: the codes of every run, embedded in the plane by UMAP."""

import numpy as np
from matplotlib.figure import Figure

from mixvae.summary.figures.scatter import PANELS, codes, scatter
from mixvae.summary.figures.view import View


def draw(view: View) -> Figure | None:
    """Draw a panel per run."""
    runs, note = view.fitting(PANELS)
    clouds = {}
    for run in runs:
        means, labels = codes(view, run)
        clouds[view.label(run)] = embed(np.concatenate(means, axis=1)), labels
    text = "UMAP of the components' means, training and test points"
    return scatter(view, clouds, view.heading(text, note), ("UMAP 1", "UMAP 2"))


def embed(features: np.ndarray) -> np.ndarray:
    """Return the UMAP of (N, F), (N, 2)."""
    import anndata
    import scanpy

    cells = anndata.AnnData(np.zeros((len(features), 1), dtype=np.float32), obsm={"X_codes": features})
    scanpy.pp.neighbors(cells, use_rep="X_codes", random_state=0)
    scanpy.tl.umap(cells, random_state=0)
    return cells.obsm["X_umap"]
