"""This file computes MISELBO, importance-weighted likelihoods and their diagnostics from log-densities at samples."""

import math
from typing import NamedTuple

from torch import Tensor


class LogTerms(NamedTuple):
    """Log-densities at samples z_{k,l} ~ q_k(z | x), each (L, K, B).

    log_likelihood: log p(x | z).
    log_prior: log p(z).
    log_mixture: log 1/K sum_j q_j(z | x), the whole posterior.
    log_component: log q_k(z_k | x), under the component that drew the sample.
    """

    log_likelihood: Tensor
    log_prior: Tensor
    log_mixture: Tensor
    log_component: Tensor

    def log_weights(self) -> Tensor:
        """Return log w = log p(x, z) - log q(z | x), with q the whole mixture."""
        return self.log_likelihood + self.log_prior - self.log_mixture


class Objective(NamedTuple):
    """The value that training maximises, and its two parts for the history, (B,) each.

    value: The objective at the epoch's KL weight.
    reconstruction: -E[log p(x | z)].
    kl: E[log q(z | x) - log p(z)].
    """

    value: Tensor
    reconstruction: Tensor
    kl: Tensor


def bound(terms: LogTerms, kl_weight: float | Tensor = 1.0) -> Objective:
    """Return the stratified importance-weighted bound of every point: 1/K sum_k log 1/L sum_l w_{k,l}.

    Here w = p(x|z) (p(z) / q(z|x))^kl_weight. With one sample per component, L = 1, it is MISELBO (Kviman et al., 2023), which
    for K = 1 is the ELBO; with K = 1 and L > 1 that of Burda et al. (2016). At kl_weight = 1 it bounds log p(x) from below.
    """
    kl = terms.log_mixture - terms.log_prior
    value = stratified(terms.log_likelihood - kl_weight * kl)
    return Objective(value, -terms.log_likelihood.mean((0, 1)), kl.mean((0, 1)))


def miselbo(terms: LogTerms) -> Tensor:
    """Return MISELBO, the mixture's ELBO, of every point, (B,): 1/(K L) sum_{k,l} log w, a mean of one-sample bounds."""
    return terms.log_weights().mean((0, 1))


def component_elbos(terms: LogTerms) -> Tensor:
    """Return the ELBO of every component alone, (K, B); their mean and the JSD add up to MISELBO."""
    return (terms.log_likelihood + terms.log_prior - terms.log_component).mean(0)


def jensen_shannon(terms: LogTerms) -> Tensor:
    """Return 1/K sum_k E_{q_k}[log q_k - log q] of every point, (B,); in expectation between 0 and log K."""
    return (terms.log_component - terms.log_mixture).mean((0, 1))


def nll(log_weights: Tensor) -> Tensor:
    """Return -log 1/(K L) sum_{k,l} w of (L, K, B) as (B,), which tends to -log p(x) from above as L grows."""
    per_component = log_weights.logsumexp(0) - math.log(log_weights.shape[0])
    return math.log(log_weights.shape[1]) - per_component.logsumexp(0)


def nll_miselbo(log_weights: Tensor) -> Tensor:
    """Return -1/K sum_k log 1/L sum_l w of (L, K, B) as (B,), as the paper prints it; for K > 1 a gap to -log p(x) stays."""
    return -stratified(log_weights)


def stratified(log_weights: Tensor) -> Tensor:
    """Return 1/K sum_k log 1/L sum_l w of (L, K, B) as (B,), the bound that training maximises."""
    # the mean of a single weight is the weight itself
    per_component = log_weights[0] if len(log_weights) == 1 else log_weights.logsumexp(0) - math.log(len(log_weights))
    return per_component.mean(0)


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """Return (sum w)^2 / sum w^2 over the K L pooled samples of every point, (B,)."""
    pooled = log_weights.flatten(0, 1)
    return (2 * pooled.logsumexp(0) - (2 * pooled).logsumexp(0)).exp()
