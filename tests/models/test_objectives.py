"""The objective and the estimators against their formulas in plain numpy."""

import numpy as np
import torch
from scipy.special import logsumexp

from mixvae.models.objectives import (
    LogTerms,
    bound,
    component_elbos,
    effective_sample_size,
    jensen_shannon,
    miselbo,
    nll,
    nll_miselbo,
)

L, K, B = 7, 3, 5


def random_terms():
    torch.manual_seed(0)
    return LogTerms(*(3 * torch.randn(L, K, B, dtype=torch.float64) for _ in range(4)))


def test_the_objective_is_the_stratified_iwae_bound_and_weighs_the_kl_by_beta():
    likelihood, prior, mixture, _ = (term.numpy() for term in random_terms())
    for beta in (0.0, 0.3, 1.0):
        w = likelihood + beta * (prior - mixture)
        expected = np.mean([logsumexp(w[:, k], axis=0) - np.log(L) for k in range(K)], axis=0)
        objective = bound(random_terms(), beta)
        np.testing.assert_allclose(objective.value, expected, atol=1e-12)
        # the parts of the history do not depend on beta
        np.testing.assert_allclose(objective.reconstruction, -likelihood.mean((0, 1)), atol=1e-12)
        np.testing.assert_allclose(objective.kl, (mixture - prior).mean((0, 1)), atol=1e-12)


def test_with_one_sample_the_objective_is_miselbo():
    terms = LogTerms(*(term[:1] for term in random_terms()))
    likelihood, prior, mixture, component = (term.numpy() for term in terms)
    np.testing.assert_allclose(bound(terms).value, (likelihood + prior - mixture).mean((0, 1)), atol=1e-12)
    np.testing.assert_allclose(miselbo(terms), bound(terms).value, atol=1e-12)
    np.testing.assert_allclose(component_elbos(terms), (likelihood + prior - component)[0], atol=1e-12)
    np.testing.assert_allclose(jensen_shannon(terms), (component - mixture).mean((0, 1)), atol=1e-12)


def test_miselbo_of_many_samples_averages_one_sample_bounds():
    terms = random_terms()
    one_by_one = [bound(LogTerms(*(term[sample : sample + 1] for term in terms))).value for sample in range(L)]
    np.testing.assert_allclose(miselbo(terms), np.mean(one_by_one, axis=0), atol=1e-12)
    assert (miselbo(terms) < bound(terms).value).all()  # Jensen


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
