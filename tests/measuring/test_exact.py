"""The estimators on a linear-Gaussian model, where log p(x) is known."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import nn

from mixvae.distributions.posteriors import GaussianMixture
from mixvae.measuring.evaluation import evaluate
from mixvae.models.objectives import LogTerms

POINTS, D = 6, 3


class LinearGaussian(nn.Module):
    """p(z) = N(0, I), p(x|z) = N(W z + b, s^2 I), with K posteriors that are deliberately wrong in different ways."""

    def __init__(self, K: int, Z: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.W = nn.Parameter(torch.randn(D, Z, generator=generator))
        self.b = torch.randn(D, generator=generator)
        self.s = 0.7
        self.sampled_components, self.noise_size, self.width = K, Z, D
        self.shift = 0.4 * torch.randn(K, 1, Z, generator=generator)

    def true_posterior(self, x):
        precision = torch.eye(self.noise_size) + self.W.T @ self.W / self.s**2
        covariance = torch.linalg.inv(precision)
        return (x - self.b) @ self.W @ covariance / self.s**2, covariance

    def posterior(self, x):
        mean, covariance = self.true_posterior(x)
        log_var = (1.3 * covariance.diagonal()).log().expand(self.sampled_components, len(x), -1)
        return GaussianMixture(mean + self.shift, log_var)

    def prior_distribution(self, dtype=torch.float32):
        return torch.distributions.Independent(
            torch.distributions.Normal(torch.zeros(self.noise_size, dtype=dtype), 1.0, validate_args=False), 1
        )

    def log_terms(self, x, posterior, prior, noise):
        draw = posterior.draw(noise)
        likelihood = torch.distributions.Independent(torch.distributions.Normal(draw.z @ self.W.T + self.b, self.s), 1)
        return LogTerms(likelihood.log_prob(x), prior.log_prob(draw.z.double()), draw.log_mixture, draw.log_component)

    def exact_nll(self, x):
        W = self.W.detach().double().numpy()
        covariance = W @ W.T + self.s**2 * np.eye(D)
        return -stats.multivariate_normal(self.b.double().numpy(), covariance).logpdf(x.double().numpy())


@pytest.fixture
def x():
    return torch.randn(POINTS, D, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("K", [1, 2])
def test_nll_converges_to_the_exact_likelihood_from_above(K, x):
    model = LinearGaussian(K, Z=2)
    exact = model.exact_nll(x)
    # averaged over repetitions, the estimate at small L lies above the truth, and less so as L grows
    gaps = []
    for L in (2, 16, 128):
        estimates = np.stack([evaluate(model, x, L, seed)["nll"] for seed in range(60)])
        gaps.append((estimates - exact).mean())
    assert gaps[0] > gaps[1] > gaps[2] > 0
    final = evaluate(model, x, 20_000, seed=0)["nll"]
    np.testing.assert_allclose(final, exact, atol=0.02)
    assert abs((final - exact).mean()) < gaps[2] + 0.005


@pytest.mark.parametrize("K", [1, 2, 3])
def test_the_three_bounds_are_ordered_at_every_point(K, x):
    estimates = evaluate(LinearGaussian(K, Z=2), x, 500, seed=1)
    assert np.all(estimates["nll"] <= estimates["nll_miselbo"] + 1e-12)
    assert np.all(estimates["nll_miselbo"] <= -estimates["elbo"] + 1e-12)
    if K == 1:
        np.testing.assert_array_equal(estimates["nll"], estimates["nll_miselbo"])
    else:
        assert np.all(estimates["nll"] < estimates["nll_miselbo"])


def test_nll_miselbo_keeps_a_gap_where_nll_has_none(x):
    model = LinearGaussian(2, Z=2)
    model.shift *= 2.5
    estimates, exact = evaluate(model, x, 20_000, seed=2), model.exact_nll(x)
    # the gap is -1/K sum_k log E_{q_k}[w] + log E_q[w] > 0, far above Monte Carlo error here
    assert (estimates["nll_miselbo"] - exact).mean() > 10 * abs((estimates["nll"] - exact).mean())


def test_miselbo_is_the_mean_component_elbo_plus_the_jensen_shannon_divergence(x):
    """Against closed forms: ELBO_k = log p(x) - KL(q_k || p(z|x)) with Gaussian KL, and the JSD by quadrature."""
    model = LinearGaussian(2, Z=1)
    estimates = evaluate(model, x, 100_000, seed=0)
    q = model.posterior(x)
    mean, covariance = (t.detach().double() for t in model.true_posterior(x))
    truth = torch.distributions.Normal(mean[:, 0], covariance[0, 0].sqrt())
    components = torch.distributions.Normal(q.mean.detach().double()[..., 0], q.std.detach().double()[..., 0])
    elbos = -torch.tensor(model.exact_nll(x)) - torch.distributions.kl_divergence(components, truth)  # (K, B)
    jsd = []
    for b in range(POINTS):
        parts = [stats.norm(components.loc[k, b], components.scale[k, b]) for k in range(2)]

        def integrand(z, parts=parts):
            mixture = 0.5 * (parts[0].pdf(z) + parts[1].pdf(z))
            return 0.5 * sum(part.pdf(z) * (part.logpdf(z) - np.log(mixture)) for part in parts)

        low, high = min(p.mean() - 9 * p.std() for p in parts), max(p.mean() + 9 * p.std() for p in parts)
        jsd.append(integrate.quad(integrand, low, high)[0])
    np.testing.assert_allclose(estimates["jsd"], jsd, atol=0.004)
    np.testing.assert_allclose(estimates["elbo_components"].T, elbos, atol=0.02)
    np.testing.assert_allclose(estimates["elbo"], elbos.mean(0).numpy() + jsd, atol=0.02)
    # and on the same samples without any Monte Carlo error
    np.testing.assert_allclose(estimates["elbo"], estimates["elbo_components"].mean(1) + estimates["jsd"], atol=1e-10)
