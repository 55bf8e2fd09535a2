"""The objective and the estimators against their formulas in plain numpy."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import logsumexp

from mixvae.objectives import LogTerms, effective_sample_size, miselbo, nll, nll_miselbo

L, K, B = 7, 3, 5


def random_terms():
    torch.manual_seed(0)
    return LogTerms(*(3 * torch.randn(L, K, B, dtype=torch.float64) for _ in range(4)))


def test_miselbo_weighs_the_kl_by_beta():
    terms = random_terms()
    likelihood, prior, mixture, _ = (term.numpy() for term in terms)
    for beta in (0.0, 0.3, 1.0):
        expected = (likelihood + beta * (prior - mixture)).mean((0, 1))
        np.testing.assert_allclose(miselbo(terms, beta), expected, atol=1e-12)


def test_likelihood_estimators():
    w = random_terms().log_weights().numpy()
    np.testing.assert_allclose(nll(torch.tensor(w)), -(logsumexp(w, axis=(0, 1)) - np.log(L * K)), atol=1e-12)
    expected = -np.mean([logsumexp(w[:, k], axis=0) - np.log(L) for k in range(K)], axis=0)
    np.testing.assert_allclose(nll_miselbo(torch.tensor(w)), expected, atol=1e-12)
    u = np.exp(w - w.max((0, 1)))
    np.testing.assert_allclose(effective_sample_size(torch.tensor(w)), u.sum((0, 1)) ** 2 / (u**2).sum((0, 1)), rtol=1e-10)


def test_weights_that_overflow_a_float_do_not_matter():
    w = random_terms().log_weights()
    np.testing.assert_allclose(nll(w - 1e4), nll(w) + 1e4, rtol=1e-12)
    np.testing.assert_allclose(effective_sample_size(w - 1e4), effective_sample_size(w), rtol=1e-9)
