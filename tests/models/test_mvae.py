"""M-VAE, its dependence term and the Inception Score against loops, scipy, quadrature and known cases."""

import itertools
import urllib.error

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Dirichlet, Normal, kl_divergence

from mixvae.data.torchvision_import import datasets
from mixvae.measuring import inception
from mixvae.models.dependence import dhsic, log_kernels, null, pairs
from mixvae.models.mvae import CONCENTRATION_FLOOR, MVAE, Posterior, dirichlet_log_prob, dirichlet_quantiles
from mixvae.models.objectives import nll
from mixvae.study import parse_run

# dependence


def loop_kernel(z):
    """The Gaussian kernel with the median heuristic, one pair of points at a time."""
    n = len(z)
    squares = [float(((z[i] - z[j]) ** 2).sum()) for i, j in itertools.combinations(range(n), 2)]
    positive = sorted(s for s in squares if s > 0)
    median = positive[(len(positive) - 1) // 2] if positive else 1.0
    return [[float(np.exp(-((z[i] - z[j]) ** 2).sum() / median)) for j in range(n)] for i in range(n)]


def loop_dhsic(codes):
    """Definition of the V-statistic with K-fold products and sums over single points."""
    kernels, n = [loop_kernel(z) for z in codes], codes.shape[1]
    first = sum(np.prod([k[i][j] for k in kernels]) for i in range(n) for j in range(n)) / n**2
    second = np.prod([sum(k[i][j] for i in range(n) for j in range(n)) / n**2 for k in kernels])
    third = sum(np.prod([sum(k[i][j] for j in range(n)) for k in kernels]) for i in range(n)) / n ** (len(kernels) + 1)
    return first + second - 2 * third


def random_codes(K, n=9, Z=2, seed=0):
    codes = torch.randn(K, n, Z, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return codes + 0.5 * codes[:1]


@pytest.mark.parametrize("K", [2, 3, 4])
def test_dhsic_is_the_direct_evaluation(K):
    codes = random_codes(K)
    np.testing.assert_allclose(dhsic(log_kernels(codes)), loop_dhsic(codes.numpy()), rtol=1e-12)
    # an axis in front is a batch
    both = torch.stack((codes, random_codes(K, seed=1)))
    np.testing.assert_allclose(dhsic(log_kernels(both)), [loop_dhsic(c.numpy()) for c in both], rtol=1e-12)


@pytest.mark.parametrize("K", [2, 3, 4])
def test_pairs_sum_the_two_variable_statistic(K):
    codes = random_codes(K, n=10)
    hsic = 0.0
    centring = np.eye(10) - 1 / 10
    for i, j in itertools.combinations(range(K), 2):
        # Gretton et al. (2005), eq. 9: tr(K H L H) / n^2
        one, other = (np.array(loop_kernel(codes[c].numpy())) for c in (i, j))
        hsic += np.trace(one @ centring @ other @ centring) / 10**2
    np.testing.assert_allclose(pairs(log_kernels(codes)), hsic, rtol=1e-12)
    if K == 2:
        np.testing.assert_allclose(dhsic(log_kernels(codes)), hsic, rtol=1e-12)


@pytest.mark.parametrize(("kind", "statistic"), [("joint", dhsic), ("pairs", pairs)])
def test_dependent_codes_stand_out_from_the_null_and_independent_ones_do_not(kind, statistic):
    stream = torch.Generator().manual_seed(3)
    independent = torch.randn(3, 200, 1, dtype=torch.float64, generator=stream)
    dependent = independent.clone()
    dependent[1] = independent[0].square() + 0.3 * independent[1]  # uncorrelated, and yet dependent
    for codes, expected in ((independent, False), (dependent, True)):
        values = null(log_kernels(codes), 60, 0, kind)
        assert (statistic(log_kernels(codes)) > values.max()) == expected
    assert statistic(log_kernels(dependent)) > 3 * values.max()


def test_the_null_is_the_statistic_of_permuted_codes():
    codes = random_codes(3, n=12)
    orders = torch.rand(2, 3, 12, generator=torch.Generator().manual_seed(5)).argsort(-1)
    expected = [dhsic(log_kernels(torch.stack([z[o] for z, o in zip(codes, order, strict=True)]))) for order in orders]
    np.testing.assert_allclose(null(log_kernels(codes), 2, 5), torch.stack(expected), rtol=1e-12)


def test_the_plain_statistic_is_blind_in_many_dimensions():
    """At n = 64, Z = 20 and K = 10 identical and independent codes both give about 1/n, which is why there is a null."""
    stream = torch.Generator().manual_seed(0)
    codes = torch.randn(10, 64, 20, generator=stream)
    different, identical = log_kernels(codes), log_kernels(codes[:1].expand(10, -1, -1))
    assert 0.0150 < dhsic(different) < dhsic(identical) < 0.0175
    assert dhsic(identical) > null(identical, 20, 0).max()


@pytest.mark.parametrize("statistic", [dhsic, pairs])
def test_gradient_of_the_statistic(statistic):
    codes = random_codes(3, n=6).requires_grad_()
    (gradient,) = torch.autograd.grad(statistic(log_kernels(codes)), codes)
    # by finite differences of the statistic at a fixed bandwidth: the median is not differentiated
    medians = (-(torch.cdist(codes, codes).square()) / log_kernels(codes)).nanmedian(-1).values.nanmedian(-1).values.detach()
    step = torch.zeros_like(codes)
    step[1, 2, 0] = 1e-6
    up, down = (statistic(-torch.cdist(c, c).square() / medians[:, None, None]) for c in (codes + step, codes - step))
    np.testing.assert_allclose(gradient[1, 2, 0], ((up - down) / 2e-6).item(), rtol=1e-5)
    for degenerate in (torch.ones(3, 8, 2), torch.ones(3, 1, 2), torch.cat((torch.ones(3, 7, 2), torch.zeros(3, 1, 2)), dim=1)):
        degenerate.requires_grad_()
        value = statistic(log_kernels(degenerate))
        (gradient,) = torch.autograd.grad(value, degenerate)
        assert value.isfinite()
        assert gradient.isfinite().all()
    np.testing.assert_allclose(statistic(log_kernels(torch.ones(3, 8, 2))), 0, atol=1e-6)


# the model

IMAGE, REAL = (1, 3, 3), (5,)


def spec(K=3, latent=2, **changes):
    base = {"model": "mvae", "dataset": "digits", "K": K, "latent": latent, "likelihood": {"name": "gaussian", "std": 0.3}}
    return parse_run(base | {"encoder": {"hidden": [7]}, "decoder": {"hidden": [6]}} | changes)


def model_of(K=3, latent=2, shape=IMAGE, **changes):
    torch.manual_seed(0)
    return MVAE(spec(K, latent, **changes), torch.zeros(1, int(np.prod(shape))), shape).double().eval()


def points(shape=IMAGE, n=4):
    return torch.rand(n, int(np.prod(shape)), dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def noise_for(model, L, B, seed=2):
    shape = (L, 1, B, model.noise_size)
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("shape", "kind", "beta"), [(IMAGE, "joint", 1.0), (REAL, "pairs", 0.4)])
def test_the_objective_is_melbo_minus_dhsic(monkeypatch, shape, kind, beta):
    """Every number of eq. 8 and 14 by hand, at a frozen w."""
    K, Z, B, L = 3, 2, 4, 2
    model = model_of(K, Z, shape, dependence=kind, beta=2.5, a0=0.7)
    x, noise = points(shape, B), noise_for(model_of(K, Z, shape), L, B)
    frozen = Dirichlet(torch.ones(B, K, dtype=torch.float64)).sample((L,))
    monkeypatch.setattr(Dirichlet, "rsample", lambda self, size: frozen)
    q = model.posterior(x)
    of_z = [torch.stack(numbers.split(Z, dim=-1)) for numbers in noise[:, 0, :, : K * Z]]
    z = torch.stack([q.mean + (0.5 * q.log_var).exp() * numbers for numbers in of_z])
    statistic = {"joint": dhsic, "pairs": pairs}[kind]
    penalty = np.mean([statistic(log_kernels(codes)).item() for codes in z])
    outputs = model.decoders(z).detach().numpy()
    objective = model.objective(x, beta, noise)
    for b in range(B):
        reconstruction = 0.0
        for sample in range(L):
            mean = sum(
                frozen[sample, b, k].item()
                * (1 / (1 + np.exp(-outputs[sample, k, b])) if shape == IMAGE else outputs[sample, k, b])
                for k in range(K)
            )
            reconstruction -= stats.norm(mean, 0.3).logpdf(x[b].numpy()).sum() / L
        kl = 0.0
        for k in range(K):
            for mu, log_var in zip(q.mean[k, b].tolist(), q.log_var[k, b].tolist(), strict=True):
                kl += 0.5 * (mu**2 + np.exp(log_var) - log_var - 1)
        kl += kl_divergence(Dirichlet(q.concentration[b]), Dirichlet(torch.full((K,), 0.7, dtype=torch.float64))).item()
        np.testing.assert_allclose(objective.reconstruction[b].item(), reconstruction, rtol=1e-10)
        np.testing.assert_allclose(objective.kl[b].item(), kl, rtol=1e-6)
        np.testing.assert_allclose(objective.value[b].item(), -reconstruction - beta * kl - 2.5 * penalty, rtol=1e-6)


def test_every_parameter_gets_a_gradient():
    for K in (1, 3):
        model = model_of(K).float().train()
        x = points().float()
        noise = torch.randn(1, 1, len(x), model.noise_size)
        (-model.objective(x, 1.0, noise).value.mean()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad.isfinite().all()
            assert parameter.grad.abs().sum() > 0, name
            if K > 1:  # of every component
                assert (parameter.grad.flatten(1).abs().sum(1) > 0).all(), name


def test_dhsic_pulls_the_codes_apart():
    """The objectives with and without it differ by its value, and so do their gradients."""
    with_, without = model_of(beta=1.0), model_of(beta=0.0)
    x, noise = points(n=20), noise_for(with_, 1, 20)
    values = []
    for model in (with_, without):
        torch.manual_seed(5)
        values.append(model.objective(x, 1.0, noise).value)
    difference = values[1] - values[0]
    assert (difference > 1e-4).all()
    np.testing.assert_allclose(difference.detach(), difference[0].item(), rtol=1e-6)


def test_a_gradient_passes_at_the_floor_of_the_concentration():
    for dominant in (1.0, 1e4):
        a = torch.full((2000, 4), CONCENTRATION_FLOOR)
        a[:, 0] += dominant
        a.requires_grad_()
        w = Dirichlet(a).rsample()
        (gradient,) = torch.autograd.grad((w * torch.arange(4.0)).sum(), a)
        assert w.isfinite().all()
        assert gradient.isfinite().all()
    model = model_of()
    model.encoder[-1].bias.data[..., -1] = -1e4
    assert (model.posterior(points()).concentration >= CONCENTRATION_FLOOR).all()


@pytest.mark.parametrize("a", [(0.01, 0.3, 2.0), (1.0, 1.0, 1.0), (30.0, 5.0, 0.05)])
def test_quantiles_make_a_dirichlet(a):
    a = torch.tensor(a, dtype=torch.float64)
    n = 40_000
    log_w = dirichlet_quantiles(torch.randn(n, 1, 3, generator=torch.Generator().manual_seed(0)), a[None])[:, 0]
    assert log_w.dtype == torch.float64
    assert log_w.isfinite().all()
    w, truth = log_w.exp(), stats.dirichlet(a.numpy())
    np.testing.assert_allclose(w.sum(-1), 1, rtol=1e-12)
    np.testing.assert_allclose(w.mean(0), truth.mean(), atol=4 * (truth.var() / n).max() ** 0.5)
    np.testing.assert_allclose(torch.cov(w.T), truth.cov(), atol=0.004)
    for i in range(3):
        marginal = stats.beta(a[i].item(), (a.sum() - a[i]).item())
        assert stats.kstest(w[:, i].numpy(), marginal.cdf).pvalue > 1e-3
    np.testing.assert_allclose(dirichlet_log_prob(log_w, a)[:50], Dirichlet(a).log_prob(w[:50].clamp_min(1e-300)), rtol=0.02)


def test_quantiles_of_the_smallest_parameters_and_the_furthest_tails():
    """log g = (log u + log Gamma(a + 1)) / a where g is tiny, log gammaincinv where it is not, monotone across the seam."""
    noise = torch.linspace(-9, 9, 2001, dtype=torch.float64)
    for a in (0.01, 0.2, 1.0, 700.0):
        both = torch.stack((noise, torch.zeros_like(noise)), -1)[:, None]
        log_w = dirichlet_quantiles(both, torch.tensor([[a, 1.0]], dtype=torch.float64))[:, 0]
        ratio = log_w[:, 0] - log_w[:, 1]  # log g - log log 2
        assert ratio.isfinite().all()
        assert (ratio.diff() > 0).all()
        expected = stats.gamma(a).logcdf((ratio + np.log(np.log(2))).exp().numpy())
        seen = (ratio.numpy() > -700) & (noise.numpy() < 5)  # scipy is given g itself, not its logarithm
        assert seen.sum() > 200
        np.testing.assert_allclose(expected[seen], stats.norm.logcdf(noise.numpy())[seen], rtol=1e-6, atol=1e-9)


def test_the_dirichlet_divergence_is_the_expected_log_ratio():
    a, a0 = torch.tensor([0.6, 3.0, 1.4], dtype=torch.float64), torch.full((3,), 1.0, dtype=torch.float64)
    log_w = dirichlet_quantiles(torch.randn(200_000, 1, 3, generator=torch.Generator().manual_seed(0)), a[None])[:, 0]
    ratio = dirichlet_log_prob(log_w, a) - dirichlet_log_prob(log_w, a0)
    error = 4 * ratio.std() / len(ratio) ** 0.5
    assert abs(ratio.mean() - kl_divergence(Dirichlet(a), Dirichlet(a0))) < error < 0.02


@torch.no_grad()
def test_log_weights_average_to_melbo():
    """E log w of the sampled weights is the reconstruction minus the closed-form divergences."""
    model = model_of()
    x = points()
    L = 20_000
    terms = model.log_terms(x, model.posterior(x), model.prior_distribution(torch.float64), noise_for(model, L, len(x)))
    assert all(term.shape == (L, 1, len(x)) for term in terms)
    np.testing.assert_array_equal(terms.log_mixture, terms.log_component)
    torch.manual_seed(1)
    objective = model.objective(x, 1.0, noise_for(model, L, len(x), seed=4))
    divergence = (terms.log_mixture - terms.log_prior)[:, 0]
    error = 5 * divergence.std(0) / L**0.5
    assert (abs(divergence.mean(0) - objective.kl) < error).all()
    reconstruction = -terms.log_likelihood[:, 0]
    assert (abs(reconstruction.mean(0) - objective.reconstruction) < 7 * reconstruction.std(0) / L**0.5).all()


def grid_log_likelihood(model, x, K, step):
    """log p(x) by the trapezoid rule over z_1, z_2 and the midpoint rule over w_1, with p(w) from scipy."""
    z = torch.arange(-6, 6 + step / 2, step, dtype=torch.float64)
    log_normal = torch.from_numpy(stats.norm.logpdf(z))
    outputs = model.component_means(z[None, :, None].expand(K, -1, 1))  # (K, G, D)
    if K == 1:
        log_joint = log_normal + Normal(outputs[0], model.likelihood.std).log_prob(x).sum(-1)
        return (log_joint.logsumexp(0) + np.log(step)).item()
    w = (torch.arange(60, dtype=torch.float64) + 0.5) / 60
    total = []
    for share in w:
        mean = share * outputs[0][:, None] + (1 - share) * outputs[1][None, :]
        log_joint = Normal(mean, model.likelihood.std).log_prob(x).sum(-1) + log_normal[:, None] + log_normal[None, :]
        prior = stats.beta(model.a0, model.a0).logpdf(share.item())
        total.append(log_joint.flatten().logsumexp(0) + prior + np.log(step**2 / 60))
    return torch.stack(total).logsumexp(0).item()


@torch.no_grad()
@pytest.mark.parametrize(("K", "a0"), [(1, 1.0), (2, 1.0), (2, 3.0)])
def test_nll_is_the_integral_over_all_latents(K, a0):
    model = model_of(K, 1, (2,), a0=a0, likelihood={"name": "gaussian", "std": 0.8})
    x = points((2,), 2)
    L = 60_000
    terms = model.log_terms(x, model.posterior(x), model.prior_distribution(torch.float64), noise_for(model, L, 2))
    weights = terms.log_weights()
    error = (5 * weights.exp().std(0) / weights.exp().mean(0) / L**0.5).max()
    assert error < 0.03
    exact = [-grid_log_likelihood(model, point, K, 0.05 if K == 1 else 0.15) for point in x]
    np.testing.assert_allclose(nll(weights), exact, atol=error)


@torch.no_grad()
def test_one_component_is_a_plain_vae():
    model = model_of(1)
    x = points()
    noise = noise_for(model, 3, len(x))
    assert model.noise_size == 2
    assert model.encoder[-1].weight.shape[-1] == 4
    h = model.encoder(x)[0]
    mean, std = h[:, :2], (0.5 * h[:, 2:].clamp(-6, 2)).exp()
    z = mean + std * noise[:, 0]
    likelihood = Normal(model.decoders(z[:, None])[:, 0].sigmoid(), 0.3).log_prob(x).sum(-1)
    terms = model.log_terms(x, model.posterior(x), model.prior_distribution(torch.float64), noise)
    np.testing.assert_allclose(terms.log_likelihood[:, 0], likelihood, rtol=1e-12)
    np.testing.assert_allclose(terms.log_prior[:, 0], Normal(0, 1).log_prob(z).sum(-1), rtol=1e-12)
    np.testing.assert_allclose(terms.log_mixture[:, 0], Normal(mean, std).log_prob(z).sum(-1), rtol=1e-12)
    kl = kl_divergence(Normal(mean, std), Normal(torch.zeros(2).double(), 1.0)).sum(-1)
    objective = model.objective(x, 0.3, noise)
    np.testing.assert_allclose(objective.value, likelihood.mean(0) - 0.3 * kl, rtol=1e-6)
    assert model.extra_metrics(x) == {}
    assert model.reconstruct(x).shape == (1, len(x), 9)
    assert model.float().sample(3).shape == (3, 9)


@torch.no_grad()
@pytest.mark.parametrize("shape", [IMAGE, REAL])
def test_outputs(shape):
    model = model_of(3, 2, shape)
    x = points(shape)
    parts, whole = model.reconstruct_components(x), model.reconstruct(x)
    assert parts.shape == (3, 4, x.shape[1])
    a = model.posterior(x).concentration
    expected = sum((a[:, k] / a.sum(1))[:, None] * parts[k] for k in range(3))
    np.testing.assert_allclose(whole[0], expected, rtol=1e-12)
    # weight 1 for a component is its own output
    q = model.posterior(x)
    for k in range(3):
        one_hot = torch.eye(3, dtype=torch.float64)[k].expand(4, 3)
        np.testing.assert_allclose(model.mixture(q.mean, one_hot).mean, parts[k], rtol=1e-12)
    mean, std = model.codes(x)
    assert mean.shape == std.shape == (3, 4, 2)
    np.testing.assert_array_equal(model.expectation(x, noise_for(model, 1, 4)), torch.cat(tuple(mean), dim=-1))
    model.float()
    samples = model.sample(500)
    assert samples.shape == (500, x.shape[1])
    inside = bool(((samples > 0) & (samples < 1)).all())
    assert inside == (shape == IMAGE)


def test_independence_tells_codes_that_share_everything_from_those_that_share_nothing():
    model = model_of(2)
    x = torch.rand(150, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mean = torch.randn(2, 150, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    result = []
    for means in (mean, mean[:1].expand(2, -1, -1)):
        model.posterior = lambda x, means=means: Posterior(means, torch.full_like(means, -6.0), None)
        result.append({name: value for name, (value, unit) in model.extra_metrics(x).items() if unit == "dHSIC"})
    for name in ("dhsic", "hsic_pairs"):
        assert result[0][name] < 1.5 * result[0][f"{name}_null_95"]
        assert result[1][name] > 5 * result[1][f"{name}_null_95"] > 5 * result[1][f"{name}_null_median"]
    assert {name: value for name, (value, _) in model.extra_metrics(x).items()} == result[1]


# the inception score


def test_inception_score_of_known_predictions():
    assert inception.inception_score(np.full((12, 5), 0.2)) == pytest.approx(1)
    balanced = np.eye(7)[np.arange(70) % 7]
    assert inception.inception_score(balanced) == pytest.approx(7)
    assert inception.inception_score(balanced, splits=10) == pytest.approx(7)
    # sorted by class, every split holds one class only
    assert inception.inception_score(np.sort(np.arange(70) % 7)[:, None] == np.arange(7), splits=7) == pytest.approx(1)
    p = np.random.default_rng(0).dirichlet(np.ones(4), 30)
    kl = np.mean([stats.entropy(row, p.mean(0)) for row in p])
    assert inception.inception_score(p) == pytest.approx(np.exp(kl))


def test_a_refused_download_is_a_reason_and_nothing_else(monkeypatch):
    import socket

    datasets()

    def refuse(*arguments, **options):
        assert socket.getdefaulttimeout() == inception.TIMEOUT
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    reason = inception.classifier()
    assert isinstance(reason, str)
    assert "no route to host" in reason
    assert socket.getdefaulttimeout() is None


def test_the_classifier_gives_probabilities_of_images_of_any_size(monkeypatch):
    datasets()
    import torchvision

    torch.manual_seed(0)
    weights = torchvision.models.inception_v3(weights=None, init_weights=False).state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *arguments, **options: weights)
    probabilities = inception.classifier()(torch.rand(2, 3, 32, 32))
    assert probabilities.shape == (2, 1000)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)


def test_the_classifier_sees_what_torchvisions_own_preprocessing_shows():
    """Torchvision normalises by ImageNet's moments and its network then undoes it; here levels go to [-1, 1] directly."""
    datasets()
    from torchvision.models import inception_v3

    image = torch.rand(1, 3, inception.SIDE, inception.SIDE)
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    network = inception_v3(weights=None, init_weights=False, transform_input=True)
    np.testing.assert_allclose(inception._prepared(image), network._transform_input((image - mean) / std), atol=1e-5)
