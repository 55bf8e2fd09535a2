"""This file reads a user's own counts from an .h5ad file of anndata."""

import warnings
from pathlib import Path

import numpy as np

from mixvae.data.arrays import Arrays, split
from mixvae.errors import UserError, did_you_mean
from mixvae.study.catalogue import ReaderOptions

MOST_CLASSES = 200
"""A column with more values is not suggested for the labels, but is accepted when the config names it."""
MINIMUM = 10


def read(path: Path, options: ReaderOptions) -> Arrays:
    """Read integer counts of any numeric type from X, and labels from a column of obs; split the cells 80/10/10.

    Raises UserError that names the file and what is wrong with it.
    """
    cells = _open(path)
    x = _counts(path, cells)
    if x.shape[0] < MINIMUM:
        raise UserError(f"{path}: {x.shape[0]} cells are too few to split; at least {MINIMUM} are needed")
    if empty := int((x.sum(1) == 0).sum()):
        raise UserError(
            f"{path}: {empty} cells have no counts at all; remove them: scanpy.pp.filter_cells(cells, min_counts=1)"
        )
    y, names = _labels(path, cells.obs, options.label)
    held_out = len(y) // 10
    parts = split(y, {"train": len(y) - 2 * held_out, "valid": held_out, "test": held_out})
    return Arrays(x, y, names, list(map(str, cells.var_names)), parts)


def candidates(path: Path) -> str:
    """Return a hint for a config without `label`: the columns of obs that look like labels, and how to name one."""
    obs = _open(path).obs
    likely = [name for name in obs if _is_discrete(obs[name]) and 2 <= obs[name].nunique() <= MOST_CLASSES]
    choice = f"candidates: {', '.join(map(str, likely))}" if likely else "no column looks like it"
    return f"set label ({choice}), or label: null for none: dataset: {{path: {path.name}, label: ...}}"


def _is_discrete(column) -> bool:
    discrete = column.dtype.kind in "iubO" or str(column.dtype) in ("category", "str", "string")
    return discrete and column.nunique() <= len(column) // 2


def _open(path: Path):
    import anndata

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old format versions, and names that are not unique
            return anndata.read_h5ad(path)
    except Exception as error:  # h5py and anndata raise a dozen kinds of errors for a file that is cut short or is no .h5ad
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: cannot be read as .h5ad: {reason}") from None


def _counts(path: Path, cells):
    """Return X as (N, D) int32 CSR."""
    from scipy.sparse import csr_matrix, issparse

    if cells.X is None or 0 in cells.shape:
        raise UserError(f"{path}: X is empty, shape {cells.shape}; put the counts into X")
    values = cells.X.data if issparse(cells.X) else np.asarray(cells.X)
    if values.dtype.kind not in "iufb":
        raise UserError(f"{path}: X is {values.dtype}, expected counts")
    if not np.isfinite(values).all():
        raise UserError(
            f"{path}: X holds {int((~np.isfinite(values)).sum())} values that are NaN or infinite; remove those cells"
        )
    if values.size and values.min() < 0:
        raise UserError(f"{path}: X holds the negative value {values.min():g}; counts start at 0, so put the raw counts into X")
    fractional = values != np.rint(values)
    if fractional.any():
        where = [f"layers[{name!r}]" for name in cells.layers] + (["raw.X"] if cells.raw is not None else [])
        hint = f" (perhaps from {' or '.join(where)})" if where else ""
        value = values[fractional].flat[0]
        raise UserError(f"{path}: X holds {value:g}, not integer counts; put the raw counts into X{hint}")
    if values.size and values.max() > np.iinfo(np.int32).max:
        raise UserError(f"{path}: X holds {values.max():g}, too large for a count")
    return csr_matrix(cells.X).astype(np.int32)


def _labels(path: Path, obs, label: str | None) -> tuple[np.ndarray, list[str]]:
    if label is None:
        return np.zeros(len(obs), dtype=np.int64), ["unlabelled"]
    if label not in obs:
        raise UserError(f"{path}: label: no column {label!r} in obs{did_you_mean(label, map(str, obs.columns))}")
    if missing := int(obs[label].isna().sum()):
        raise UserError(f"{path}: {missing} cells have no {label}; fill it in or remove them")
    if not _is_discrete(obs[label]):
        found = f"{obs[label].nunique()} values of type {obs[label].dtype} in {len(obs)} cells"
        raise UserError(f"{path}: label: {label} holds {found}, no classes; choose another column")
    labels = obs[label].astype(str).astype("category").cat
    return labels.codes.to_numpy(dtype=np.int64), list(map(str, labels.categories))
