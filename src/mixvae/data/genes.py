"""This file chooses the genes of a data set that are kept: those most variable."""

import warnings

import numpy as np
from scipy.sparse import csr_matrix


def most_variable(counts: np.ndarray | csr_matrix, n: int) -> np.ndarray:
    """Return the sorted indices of the `n` genes with the largest normalised dispersion in counts (N, D) of training cells.

    It is scanpy's default (`highly_variable_genes`, flavor "seurat"; Satija et al., 2015, Nature Biotechnology 33): the
    dispersion of log1p of counts scaled to 10,000 per cell, relative to genes of similar mean. Of equal genes the first is
    kept. The choice does not depend on other cells than those of training.
    """
    import anndata
    import scanpy

    cells = anndata.AnnData(csr_matrix(counts, dtype=np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about empty cells, and genes that no training cell expresses
        scanpy.pp.normalize_total(cells, target_sum=1e4)
        scanpy.pp.log1p(cells)
        dispersions = scanpy.pp.highly_variable_genes(cells, flavor="seurat", inplace=False)["dispersions_norm"]
    return np.sort(np.argsort(-dispersions.fillna(-np.inf).to_numpy(), kind="stable")[:n])
