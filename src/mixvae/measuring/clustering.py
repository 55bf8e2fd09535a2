"""Found clusters are compared with classes whose names they do not know."""

from __future__ import annotations

import numpy as np
from sklearn.metrics.cluster import contingency_matrix


def cluster_accuracy(labels: np.ndarray, assignment: np.ndarray) -> float:
    """Return the share of points that the best one-to-one map from clusters to classes gets right (Kuhn, 1955).

    Of more clusters than classes those left over count as wrong, and so do classes without a cluster.

    Arguments:
        labels: (N,) the class of every point.
        assignment: (N,) its cluster.
    """
    from scipy.optimize import linear_sum_assignment

    table = contingency_matrix(labels, assignment)
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / table.sum())


def cluster_purity(labels: np.ndarray, assignment: np.ndarray) -> float:
    """Return the share of points in the majority class of their cluster: the best many-to-one map, which more clusters inflate.

    Arguments:
        labels: (N,) the class of every point.
        assignment: (N,) its cluster.
    """
    table = contingency_matrix(labels, assignment)
    return float(table.max(0).sum() / table.sum())
