"""This file measures the dependence of K sets of latent codes by dHSIC, a Hilbert-Schmidt criterion (Pfister et al., 2018)."""

import torch
from torch import Tensor


def log_kernels(codes: Tensor) -> Tensor:
    r"""Return log k_k(z_i, z_j) = -|z_i - z_j|^2 / m_k of (..., K, n, Z) as (..., K, n, n).

    m_k is the median of the squared distances between different points, the median heuristic of the criterion's authors
    (a Gaussian kernel of variance m_k / 2). No gradient passes through m_k; if all points are equal it is 1.
    """
    # summed differences, not a matrix product: equal points must be at distance 0, not at a rounding error
    distances = torch.cdist(codes, codes, compute_mode="donot_use_mm_for_euclid_dist").square()
    different = distances.detach().masked_fill(distances == 0, torch.nan).flatten(-2)
    median = different.nanmedian(-1).values.nan_to_num(1.0).clamp_min(torch.finfo(codes.dtype).tiny)
    return -distances / median[..., None, None]


def dhsic(log_k: Tensor) -> Tensor:
    r"""Return the joint dependence of K variables from log-kernels of n joint draws, (...) for (..., K, n, n).

    The V-statistic of Pfister et al. (2018), eq. 13 of Ye & Bors ("Mixtures of Variational Autoencoders"):
    1/n^2 sum_ij prod_k K_ij + prod_k 1/n^2 sum_ij K_ij - 2/n sum_i prod_k 1/n sum_j K_ij. It is never negative and, as n
    grows, tends to 0 for independent variables only. For two variables it is the HSIC of Gretton et al. (2005).

    With many variables of many dimensions the kernels' product vanishes off the diagonal, and the value is about 1/n for any
    dependence: compare it with its permutation `null`.
    """
    rows = log_k.exp().mean(-1)
    # products over components are sums of logarithms; every row holds its own point, so its mean is at least 1/n
    return log_k.sum(-3).exp().mean((-2, -1)) + rows.mean(-1).log().sum(-1).exp() - 2 * rows.log().sum(-2).exp().mean(-1)


def pairs(log_k: Tensor) -> Tensor:
    """Return the HSIC of every pair of the K variables, summed over the pairs, (...) for log-kernels (..., K, n, n)."""
    k = log_k.exp()
    centred = (k - k.mean(-1, keepdim=True) - k.mean(-2, keepdim=True) + k.mean((-2, -1), keepdim=True)).flatten(-2)
    return (centred @ centred.mT / centred.shape[-1]).triu(1).sum((-2, -1))


STATISTICS = {"joint": dhsic, "pairs": pairs}
"""For each value of a run's `dependence`, the statistic as a function of the log-kernels."""


def null(log_k: Tensor, permutations: int, seed: int, dependence: str = "joint") -> Tensor:
    """Return the statistic after independent permutations of each variable's draws, (permutations,) for (K, n, n).

    This is the distribution of the statistic for independent variables with the same marginal distributions.
    """
    generator = torch.Generator().manual_seed(seed)
    component = torch.arange(len(log_k), device=log_k.device)[:, None, None]
    values = []
    for _ in range(permutations):
        order = torch.rand(log_k.shape[:2], generator=generator).argsort(-1).to(log_k.device)
        values.append(STATISTICS[dependence](log_k[component, order[:, :, None], order[:, None, :]]))
    return torch.stack(values)
