"""This data set has counts of 3,005 cells of the mouse cortex and hippocampus (Zeisel et al., 2015)."""

from itertools import islice
from pathlib import Path

import numpy as np

from mixvae.data.arrays import Arrays

HEADER = 11
"""Lines before the counts: ten of annotation, each named in its second column, and an empty one."""


def load(raw: Path) -> Arrays:
    """Read the tab-separated molecule counts, one gene per line: its name, a group number, then one count per cell.

    All genes are returned; the 1,200 that the catalogue asks for are chosen later, from the training cells alone. scVI and
    Mixture VAE choose genes by plain variance over all cells, so their genes are not exactly the same.
    """
    import pandas
    from scipy.sparse import csr_matrix

    path = raw / "expression_mRNA_17-Aug-2014.txt"
    with path.open(encoding="utf-8") as file:
        annotation = {
            fields[1]: fields[2:] for fields in (line.rstrip("\r\n").split("\t") for line in islice(file, HEADER - 1))
        }
    labels = pandas.Categorical(annotation["level1class"])
    types = {0: str} | dict.fromkeys(range(1, len(labels) + 2), np.int32)
    table = pandas.read_csv(path, sep="\t", skiprows=HEADER, header=None, dtype=types, keep_default_na=False)
    counts = csr_matrix(table.iloc[:, 2:].to_numpy().T)
    return Arrays(counts, labels.codes.astype(np.int64), list(labels.categories), list(table[0]))
