"""This data set has 2,638 blood cells of a healthy donor: 10x Genomics' counts with the cell types of scanpy."""

import tempfile
import warnings
from pathlib import Path

import numpy as np

from mixvae.data.archives import unpack
from mixvae.data.arrays import Arrays


def load(raw: Path) -> Arrays:
    """Read the counts of those of the 2,700 cells that scanpy's `pbmc3k_processed` keeps, with its `louvain` types as labels.

    So the quality control is that of scanpy's tutorial: a cell has at least 200 and fewer than 2,500 genes, and less than 5 %
    of its counts are from mitochondrial genes. The catalogue's 1,200 genes are chosen later, from the training cells alone.
    """
    import anndata
    import scanpy
    from scipy.sparse import csr_matrix

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the old format version of the processed file
        unpack(raw / "pbmc3k_filtered_gene_bc_matrices.tar.gz", Path(folder))
        cells = scanpy.read_10x_mtx(Path(folder, "filtered_gene_bc_matrices/hg19"))
        kept = anndata.read_h5ad(raw / "pbmc3k.h5ad").obs["louvain"].astype("category")
    cells = cells[kept.index]
    counts = csr_matrix(cells.X).astype(np.int32)
    return Arrays(counts, kept.cat.codes.to_numpy(dtype=np.int64), list(kept.cat.categories), list(cells.var_names))
