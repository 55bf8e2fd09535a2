"""Posteriors, priors and likelihoods against brute force, scipy and torch."""

import math

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from scipy import stats
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from mixvae.distributions.gaussians import DiagonalMixture
from mixvae.distributions.likelihoods import Bernoulli, NegativeBinomial, likelihood
from mixvae.distributions.likelihoods.counts import NegativeBinomialCounts, ZeroInflated
from mixvae.distributions.posteriors import GaussianMixture
from mixvae.distributions.priors import MixturePrior, StandardPrior, VampPrior
from mixvae.study import parts


def likelihood_of(name: str, features: int):
    return likelihood(TypeAdapter(parts.Likelihood).validate_python(name), (features,))


def random_mixture(K=3, B=4, Z=5, dtype=torch.float64):
    torch.manual_seed(0)
    return GaussianMixture(torch.randn(K, B, Z, dtype=dtype), torch.randn(K, B, Z, dtype=dtype))


def brute_force_mixture(q, z):
    """log 1/K sum_j N(z; mu_j, s_j) with scipy, one number at a time."""
    L, K, B, _ = z.shape
    result = np.empty((L, K, B))
    for index in np.ndindex(L, K, B):
        b = index[-1]
        parts = [stats.norm(q.mean[j, b], q.std[j, b]).logpdf(z[index]).sum() for j in range(len(q.mean))]
        result[index] = np.logaddexp.reduce(parts) - np.log(len(parts))
    return result


def test_mixture_posterior_density_is_the_brute_force_one():
    q = random_mixture()
    draw = q.draw(torch.randn(2, 3, 4, 5, dtype=torch.float64))
    np.testing.assert_allclose(draw.log_mixture, brute_force_mixture(q, draw.z), atol=1e-10)
    own = Independent(Normal(q.mean, q.std), 1).log_prob(draw.z)
    np.testing.assert_allclose(draw.log_component, own, atol=1e-10)


def test_component_k_draws_sample_k():
    q = GaussianMixture(torch.tensor([[[-50.0]], [[50.0]]]), torch.zeros(2, 1, 1))
    z = q.draw(torch.randn(100, 2, 1, 1)).z
    assert (z[:, 0] < -40).all()
    assert (z[:, 1] > 40).all()


def test_identical_components_are_one_gaussian():
    one = random_mixture(K=1)
    four = GaussianMixture(one.mean.expand(4, -1, -1), one.log_var.expand(4, -1, -1))
    noise = torch.randn(7, 4, 4, 5, dtype=torch.float64)
    draw = four.draw(noise)
    for k in range(4):
        alone = one.draw(noise[:, k : k + 1])
        np.testing.assert_allclose(draw.log_mixture[:, k], alone.log_mixture[:, 0], atol=1e-12)
    np.testing.assert_allclose(draw.log_mixture, draw.log_component, atol=1e-12)


def naive_mixture(mean, log_var, z):
    components = Independent(Normal(mean, (0.5 * log_var).exp()), 1)
    return MixtureSameFamily(Categorical(torch.ones(len(mean), dtype=mean.dtype)), components).log_prob(z)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 0.05)])
def test_matrix_product_density_equals_the_naive_one(dtype, tolerance):
    torch.manual_seed(0)
    # the hardest case the clipping allows: smallest variances, means far apart, off centre
    mean, log_var = 3 * torch.randn(200, 40, dtype=torch.float64) + 2, torch.full((200, 40), -6.0, dtype=torch.float64)
    mean, log_var = mean.float().double(), log_var.float().double()
    z = (mean[:64] + (0.5 * log_var[:64]).exp() * torch.randn(64, 40, dtype=torch.float64)).float().double()
    fast = DiagonalMixture(mean, log_var, dtype).log_prob(z.to(dtype)).double()
    np.testing.assert_allclose(fast, naive_mixture(mean, log_var, z), atol=tolerance)


def test_matrix_product_density_keeps_any_batch_shape_and_gradient():
    torch.manual_seed(0)
    mean = torch.randn(30, 5, dtype=torch.float64, requires_grad=True)
    log_var = torch.randn(30, 5, dtype=torch.float64, requires_grad=True)
    z = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    fast, naive = DiagonalMixture(mean, log_var, torch.float64).log_prob(z), naive_mixture(mean, log_var, z)
    assert fast.shape == (2, 3, 4)
    for a, b in zip(
        torch.autograd.grad(fast.sum(), (mean, log_var, z)), torch.autograd.grad(naive.sum(), (mean, log_var, z)), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-10)


def test_vampprior_is_the_mean_over_pseudo_inputs_and_encoders():
    torch.manual_seed(1)
    M, K, Z = 6, 3, 4
    weight = torch.randn(K, 2, 2 * Z, dtype=torch.float64)

    def encoder(u):
        return GaussianMixture(*(u.expand(K, -1, -1) @ weight).chunk(2, dim=-1))

    prior = VampPrior(torch.rand(M, 2, dtype=torch.float64), Bernoulli.constrain, Bernoulli.unconstrain)
    z = torch.randn(5, Z, dtype=torch.float64)
    q = encoder(prior.constrain(prior.free))
    terms = [Normal(q.mean[k, m], q.std[k, m]).log_prob(z).sum(-1) for m in range(M) for k in range(K)]
    expected = torch.stack(terms).logsumexp(0) - math.log(M * K)
    np.testing.assert_allclose(prior(encoder, torch.float64).log_prob(z).detach(), expected.detach(), atol=1e-10)


@pytest.mark.parametrize("name", ["bernoulli", "nb", "zinb"])
def test_every_entry_of_a_pseudo_input_gets_a_gradient(name):
    module = likelihood_of(name, 3)
    x = torch.tensor([[0.0, 1.0, 0.5]]) if name == "bernoulli" else torch.tensor([[0.0, 3.0, 250.0]])
    inputs = module.encoder_input(x)
    prior = VampPrior(inputs, module.constrain, module.unconstrain)
    pseudo = prior.constrain(prior.free)
    assert (pseudo - inputs).abs().max() < 0.06
    (gradient,) = torch.autograd.grad(pseudo.sum(), prior.free)
    assert (gradient > 0.01).all()


def test_priors_sample_what_they_say():
    torch.manual_seed(0)
    mixture = MixturePrior(2, 3)
    torch.nn.init.normal_(mixture.mean, std=3)
    p = mixture(None, torch.float32)
    z = p.sample((40_000,))
    np.testing.assert_allclose(z.mean(0).detach(), mixture.mean.detach().mean(0), atol=0.08)
    # Gibbs' inequality: under its own samples no other distribution is more likely
    assert p.log_prob(z).mean() > StandardPrior(2)(None, torch.float32).log_prob(z).mean()
    standard = StandardPrior(2)(None, torch.float32)
    np.testing.assert_allclose(standard.log_prob(z[:5].detach()), stats.norm.logpdf(z[:5].detach()).sum(-1), rtol=1e-5)


COUNTS = np.array([0, 1, 2, 7, 40, 300])


@pytest.mark.parametrize("mean", [0.02, 1.5, 80.0])
@pytest.mark.parametrize("theta", [0.1, 1.0, 50.0])
def test_negative_binomial_equals_scipy(mean, theta):
    mean_, theta_ = torch.tensor([mean, theta], dtype=torch.float64)
    ours = NegativeBinomialCounts(mean_.log(), theta_.log())
    expected = stats.nbinom(theta, theta / (theta + mean)).logpmf(COUNTS)
    np.testing.assert_allclose(ours.log_prob(torch.tensor(COUNTS).double()), expected, rtol=1e-9, atol=1e-9)
    reference = torch.distributions.NegativeBinomial(theta_, logits=(mean_ / theta_).log())
    np.testing.assert_allclose(ours.log_prob(torch.tensor(COUNTS).double()), reference.log_prob(torch.tensor(COUNTS).double()))


@pytest.mark.parametrize("pi", [-40.0, -1.0, 0.5, 40.0])
def test_zero_inflated_negative_binomial_equals_scipy(pi):
    mean, theta = 3.0, 0.7
    counts = NegativeBinomialCounts(*torch.tensor([mean, theta], dtype=torch.float64).log())
    ours = ZeroInflated(counts, torch.tensor(pi, dtype=torch.float64)).log_prob(torch.tensor(COUNTS).double())
    pmf, lost = stats.nbinom(theta, theta / (theta + mean)), 1 / (1 + np.exp(-pi))
    kept = 1 / (1 + np.exp(pi))
    expected = np.where(COUNTS == 0, np.log(lost + kept * pmf.pmf(0)), np.log(kept) + pmf.logpmf(COUNTS))
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["nb", "zinb"])
def test_count_likelihoods_sum_to_one_and_keep_the_library(name):
    torch.manual_seed(0)
    module = likelihood_of(name, 2).double()
    x = torch.tensor([[3.0, 2.0]], dtype=torch.float64)
    h = torch.randn(1, module.parameters_per_point, dtype=torch.float64)
    p = module(h, x).base_dist
    every = torch.arange(4000, dtype=torch.float64)[:, None].expand(-1, 2)
    np.testing.assert_allclose(p.log_prob(every).exp().sum(0).detach(), [1, 1], atol=1e-6)
    np.testing.assert_allclose((p.log_prob(every).exp() * every).sum(0).detach(), p.mean[0].detach(), rtol=1e-3)
    if name == "nb":
        np.testing.assert_allclose(p.mean.sum().detach(), 5.0, rtol=1e-12)
    p.sample((10,))


def test_bernoulli_is_exact_far_out_in_the_tails():
    h = torch.tensor([[-800.0, 800.0, 0.3]])
    right, wrong = torch.tensor([[0.0, 1.0, 1.0]]), torch.tensor([[1.0, 1.0, 1.0]])
    p = Bernoulli((3,))(h, None)
    np.testing.assert_allclose(p.log_prob(right), stats.bernoulli.logpmf(1, 1 / (1 + np.exp(-0.3))), rtol=1e-6)
    np.testing.assert_allclose(p.log_prob(wrong), -800 + math.log(1 / (1 + math.exp(-0.3))), rtol=1e-6)


def test_softplus_round_trip_of_pseudo_inputs():
    x = torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64)
    np.testing.assert_allclose(NegativeBinomial.constrain(NegativeBinomial.unconstrain(x)), x, rtol=1e-10)
