"""MISELBO and the importance-weighted likelihoods, all functions of the same log-densities."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor


class LogTerms(NamedTuple):
    """Log-densities at samples z_{k,l} ~ q_k(z | x), each (L, K, B).

    log_likelihood: log p(x | z).
    log_prior: log p(z).
    log_mixture: log 1/K sum_j q_j(z | x), the whole posterior.
    log_component: log q_k(z_k | x), the component that drew the sample.
    """

    log_likelihood: Tensor
    log_prior: Tensor
    log_mixture: Tensor
    log_component: Tensor

    def log_weights(self) -> Tensor:
        """Return log w = log p(x, z) - log q(z | x), with q the whole mixture."""
        return self.log_likelihood + self.log_prior - self.log_mixture


def miselbo(terms: LogTerms, beta: float = 1.0) -> Tensor:
    """Return the stratified mixture bound of every point, (B,) (Kviman et al., 2023).

    1/(K L) sum_{k,l} [log p(x|z) + beta (log p(z) - log q(z|x))]; with K = 1 the ELBO, with beta = 1 a lower bound.
    """
    kl = terms.log_mixture - terms.log_prior
    return (terms.log_likelihood - beta * kl).mean((0, 1))


def component_elbos(terms: LogTerms) -> Tensor:
    """Return the ELBO of every component alone, (K, B); their mean and the JSD add up to MISELBO."""
    return (terms.log_likelihood + terms.log_prior - terms.log_component).mean(0)


def jensen_shannon(terms: LogTerms) -> Tensor:
    """Return 1/K sum_k E_{q_k}[log q_k - log q] of every point, (B,); in expectation between 0 and log K."""
    return (terms.log_component - terms.log_mixture).mean((0, 1))


def nll(log_weights: Tensor) -> Tensor:
    """Return -log 1/(K L) sum_{k,l} w of (L, K, B) as (B,): consistent, tends to -log p(x) from above as L grows."""
    per_component = log_weights.logsumexp(0) - math.log(log_weights.shape[0])
    return math.log(log_weights.shape[1]) - per_component.logsumexp(0)


def nll_miselbo(log_weights: Tensor) -> Tensor:
    """Return -1/K sum_k log 1/L sum_l w of (L, K, B) as (B,): what the paper prints; for K > 1 the gap stays."""
    return math.log(log_weights.shape[0]) - log_weights.logsumexp(0).mean(0)


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """Return (sum w)^2 / sum w^2 over the K L pooled samples of every point, (B,)."""
    pooled = log_weights.flatten(0, 1)
    return (2 * pooled.logsumexp(0) - (2 * pooled).logsumexp(0)).exp()
