"""This file scores clusters against the points' classes, by accuracy and by purity."""

import numpy as np
from sklearn.metrics.cluster import contingency_matrix


def cluster_accuracy(labels: np.ndarray, assignment: np.ndarray) -> float:
    """Return the share of points that the best one-to-one map from clusters to classes gets right (Kuhn, 1955).

    Points in a cluster without a class, or of a class without a cluster, count as wrong.

    Arguments:
        labels: (N,) the class of every point.
        assignment: (N,) its cluster.
    """
    from scipy.optimize import linear_sum_assignment

    table = contingency_matrix(labels, assignment)
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / table.sum())


def cluster_purity(labels: np.ndarray, assignment: np.ndarray) -> float:
    """Return the share of points in the majority class of their cluster; more clusters inflate it.

    Arguments:
        labels: (N,) the class of every point.
        assignment: (N,) its cluster.
    """
    table = contingency_matrix(labels, assignment)
    return float(table.max(0).sum() / table.sum())
