"""How well found clusters agree with classes, for clusterings that know nothing of the classes' names."""

from __future__ import annotations

import numpy as np


def _table(labels: np.ndarray, assignment: np.ndarray) -> np.ndarray:
    """Return how many points of every class fell into every cluster, (classes, clusters), without empty rows and columns."""
    classes, rows = np.unique(labels, return_inverse=True)
    clusters, columns = np.unique(assignment, return_inverse=True)
    table = np.zeros((len(classes), len(clusters)), dtype=np.int64)
    np.add.at(table, (rows, columns), 1)
    return table


def cluster_accuracy(labels: np.ndarray, assignment: np.ndarray) -> float:
    """Return the share of points that the best one-to-one map from clusters to classes gets right (Kuhn, 1955).

    Of more clusters than classes those left over count as wrong, and so do classes without a cluster.

    Arguments:
        labels: (N,) the class of every point.
        assignment: (N,) its cluster.
    """
    from scipy.optimize import linear_sum_assignment

    table = _table(labels, assignment)
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / table.sum())


def cluster_purity(labels: np.ndarray, assignment: np.ndarray) -> float:
    """Return the share of points in the majority class of their cluster: the best many-to-one map, which more clusters inflate.

    Arguments:
        labels: (N,) the class of every point.
        assignment: (N,) its cluster.
    """
    table = _table(labels, assignment)
    return float(table.max(0).sum() / table.sum())
