"""CP-VAE and the two GMVAEs against quadrature, loops and torch.distributions; cluster accuracy against brute force."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Normal, kl_divergence
from torch.nn.functional import one_hot

from mixvae.distributions.categorical import draw_categories, uniform_kl
from mixvae.distributions.gaussians import gaussian_kl, gaussian_kl_to_each
from mixvae.measuring.evaluation import evaluate
from mixvae.measuring.labels import cluster_accuracy, cluster_purity
from mixvae.models import build
from mixvae.models.gmvae import GMVAE
from mixvae.models.objectives import bound
from mixvae.nets import BatchedLinear
from mixvae.study import parse_run

MODELS = ["cpvae", "gmvae", "gmvae_shu"]
POINTS = 3
LIKELIHOODS = {"bernoulli": (5, 1, 1), "gaussian": (1,)}


def tiny(name: str, likelihood: str = "bernoulli", K: int = 3, latent: int = 1, **changes):
    """A random model in float64 whose networks do something, its shape and points."""
    network = {"hidden": [6], "activation": "gated"}
    extra = {"latent_w": 1, "mixture": {"hidden": [5]}} if name == "gmvae" else {}
    settings = {"name": "gaussian", "std": 0.5} if likelihood == "gaussian" else likelihood
    base = {"model": name, "dataset": "toy", "likelihood": settings, "K": K, "latent": latent}
    spec = parse_run({**base, "encoder": network, "decoder": network, **extra, **changes})
    shape = LIKELIHOODS[likelihood]
    model = build(spec, torch.zeros(20, math.prod(shape)), shape).double()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        # posteriors rather too wide than too narrow, whose weights have heavy tails
        heads = {"cpvae": "gated", "gmvae": "encoder", "gmvae_shu": "heads"}[name]
        bias = [value for key, value in model.named_parameters() if key.startswith(heads) and key.endswith("bias")][-1]
        bias.view(2, -1)[1] += 2.0
    x = torch.rand(POINTS, math.prod(shape), generator=generator, dtype=torch.float64)
    return model, (x < 0.5).double() if likelihood == "bernoulli" else 2 * x


def noise_for(model, samples: int, seed: int = 0, points: int = POINTS) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, 1, points, model.noise_size, generator=generator, dtype=torch.float64)


def terms_of(model, x, samples: int, seed: int = 0):
    with torch.no_grad():
        return model.log_terms(x, model.posterior(x), model.prior_distribution(torch.float64), noise_for(model, samples, seed))


def log_likelihood(model, x, code):
    """log p(x | code), (N, B), from the decoder and torch.distributions alone, for codes (N, .)."""
    h = model.decoder([code], None)[:, None]
    density = Bernoulli(logits=h) if x.shape[1] > 1 else Normal(h, 0.5)
    return density.log_prob(x).sum(-1)


GRID = torch.linspace(-14, 14, 1401, dtype=torch.float64)


def log_p_of_codes(model):
    """Yield the decoder's input on a grid of z and the log of its prior mass, for every category."""
    step = math.log(GRID[1] - GRID[0])
    if isinstance(model, GMVAE):
        w = torch.linspace(-6, 6, 241, dtype=torch.float64)
        mean, log_var = model.mixture(w[:, None]).view(len(w), 2, model.C, 1).unbind(1)
        log_w = Normal(0, 1).log_prob(w) + math.log(w[1] - w[0])
        for c in range(model.C):
            p = Normal(mean[:, c], log_var[:, c].clamp(-6, 2).mul(0.5).exp())
            yield GRID[:, None], (log_w[:, None] + p.log_prob(GRID)).logsumexp(0) + step - math.log(model.C)
        return
    for c in range(model.C):
        p = Normal(model.prior.mean[c], model.prior.log_var[c].clamp(-6, 2).mul(0.5).exp())
        code = GRID[:, None]
        if model.decoder.layers[0].in_features > 1:
            code = torch.cat((code, torch.eye(model.C, dtype=torch.float64)[c].expand(len(GRID), -1)), dim=1)
        yield code, p.log_prob(GRID) + step - math.log(model.C)


@torch.no_grad()
def exact_nll(model, x):
    parts = [(log_likelihood(model, x, code) + mass[:, None]).logsumexp(0) for code, mass in log_p_of_codes(model)]
    return -torch.stack(parts).logsumexp(0)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("name", MODELS)
def test_the_nll_converges_to_the_exact_likelihood_from_above(name, likelihood):
    model, x = tiny(name, likelihood)
    exact = exact_nll(model, x)
    log_weights = terms_of(model, x, 40_000).log_weights()[:, 0]
    gaps = [
        (math.log(L) - log_weights.view(-1, L, POINTS).logsumexp(1)).mean(0) - exact for L in (1, 10, 100, len(log_weights))
    ]
    assert gaps[0].mean() > gaps[1].mean() > gaps[2].mean() > -1e-3  # the first is -elbo
    torch.testing.assert_close(gaps[3], torch.zeros_like(exact), atol=0.02, rtol=0)
    assert gaps[0].mean() > 0.05, "the posterior must be wrong for this to test anything"


@pytest.mark.parametrize("name", MODELS)
def test_the_weights_average_to_the_likelihood_in_the_pipeline_s_own_precision(name):
    model, x = tiny(name)
    estimates = evaluate(model.float(), x.float(), 20_000, seed=0)
    np.testing.assert_allclose(estimates["nll"], exact_nll(model.double(), x), atol=0.03)
    assert np.all(estimates["nll"] <= -estimates["elbo"])
    assert estimates["elbo_components"].shape == (POINTS, 1)
    np.testing.assert_allclose(estimates["jsd"], 0, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_a_point_s_terms_do_not_depend_on_the_batch(name):
    model, x = tiny(name)
    noise, prior = noise_for(model, 50), model.prior_distribution(torch.float64)
    together = model.log_terms(x, model.posterior(x), prior, noise)
    alone = model.log_terms(x[1:2], model.posterior(x[1:2]), prior, noise[:, :, 1:2])
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a[:, :, 1:2], b)


def gaussians(model):
    """Means and standard deviations of the learnt p(z | c), (C, Z) each."""
    return model.prior.mean, model.prior.log_var.clamp(-6, 2).mul(0.5).exp()


@torch.no_grad()
def cpvae_objective(model, x, beta, noise):
    """Equations 7 to 9 in loops."""
    log_pi, q = model.posterior(x)
    gumbel = -torch.empty(len(noise), 1, POINTS, model.C, dtype=torch.float64).exponential_().log()
    mean, std = gaussians(model)
    value = torch.zeros(POINTS, dtype=torch.float64)
    for b, sample in itertools.product(range(POINTS), range(len(noise))):
        z = q.mean[0, b] + q.log_var[0, b].div(2).exp() * noise[sample, 0, b, : model.latent]
        c = ((log_pi[b] + gumbel[sample, 0, b]) / model.temperature).softmax(0)
        value[b] += log_likelihood(model, x[b : b + 1], torch.cat((z, c))[None])[0, 0] / len(noise)
    for b in range(POINTS):
        pi = Categorical(logits=log_pi[b])
        kl = kl_divergence(pi, Categorical(torch.ones(model.C, dtype=torch.float64)))
        for c in range(model.C):
            own = Normal(q.mean[0, b], q.log_var[0, b].div(2).exp())
            kl += pi.probs[c] * kl_divergence(own, Normal(mean[c], std[c])).sum()
        value[b] -= beta * kl
    return value


@torch.no_grad()
def gmvae_objective(model, x, beta, noise):
    """The paper's four terms in loops, with its cut-off."""
    q = model.posterior(x)
    Z, L = model.latent, len(noise)
    value = torch.zeros(POINTS, dtype=torch.float64)
    for b in range(POINTS):
        mean, std = q.mean[0, b], q.log_var[0, b].div(2).exp()
        value[b] -= beta * kl_divergence(Normal(mean[Z:], std[Z:]), Normal(torch.zeros_like(mean[Z:]), 1.0)).sum()
        discrete = 0.0
        for sample in noise[:, 0, b]:
            z, w = mean[:Z] + std[:Z] * sample[:Z], mean[Z:] + std[Z:] * sample[Z:]
            out = model.mixture(w)
            means, variances = out[: model.C * Z].view(model.C, Z), out[model.C * Z :].view(model.C, Z).clamp(-6, 2).exp()
            density = torch.stack([Normal(means[c], variances[c].sqrt()).log_prob(z).sum().exp() for c in range(model.C)])
            r = density / density.sum()
            value[b] += log_likelihood(model, x[b : b + 1], z[None])[0, 0] / L
            for c in range(model.C):
                kl = kl_divergence(Normal(mean[:Z], std[:Z]), Normal(means[c], variances[c].sqrt())).sum()
                value[b] -= beta * r[c] * kl / L
            discrete += (r * (r * model.C).log()).sum() / L
        value[b] -= beta * max(model.free_nats, discrete)
    return value


@torch.no_grad()
def gmvae_shu_objective(model, x, beta, noise):
    """The sum over y in loops."""
    log_pi, means, log_vars = model.posterior(x)
    prior_mean, prior_std = gaussians(model)
    value = torch.zeros(POINTS, dtype=torch.float64)
    for b, y in itertools.product(range(POINTS), range(model.C)):
        q = Normal(means[y, b], log_vars[y, b].div(2).exp())
        inside = 0.0
        for sample in noise[:, 0, b, : model.latent]:
            inside += log_likelihood(model, x[b : b + 1], (q.mean + q.stddev * sample)[None])[0, 0] / len(noise)
        kl = kl_divergence(q, Normal(prior_mean[y], prior_std[y])).sum() + log_pi[b, y] + math.log(model.C)
        value[b] += log_pi[b, y].exp() * (inside - beta * kl)
    return value


DIRECT = {"cpvae": cpvae_objective, "gmvae": gmvae_objective, "gmvae_shu": gmvae_shu_objective}


@pytest.mark.parametrize(("name", "changes"), [*((name, {}) for name in MODELS), ("gmvae", {"free_nats": 0.4})])
def test_the_training_objective_is_the_paper_s(name, changes):
    model, x = tiny(name, latent=2, **changes)
    for beta in (0.3, 1.0):
        noise = noise_for(model, 4)
        torch.manual_seed(1)
        found = model.objective(x, beta, noise)
        torch.manual_seed(1)
        torch.testing.assert_close(found.value, DIRECT[name](model, x, beta, noise))
        if not changes:
            torch.testing.assert_close(found.value, -found.reconstruction - beta * found.kl)


def test_the_cut_off_removes_the_gradient_of_small_category_kls_and_leaves_the_reported_kl_alone():
    model, x = tiny("gmvae", free_nats=math.log(3))  # no KL to a uniform over three exceeds it
    free, _ = tiny("gmvae")
    noise = noise_for(model, 4)
    cut, plain = model.objective(x, 1.0, noise), free.objective(x, 1.0, noise)
    torch.testing.assert_close(cut.kl, plain.kl)
    assert torch.all(cut.value < plain.value)
    for m, objective in ((model, cut), (free, plain)):
        objective.value.sum().backward()
        assert m.mixture[-1].weight.grad.abs().sum() > 0
    assert not torch.allclose(model.mixture[-1].weight.grad, free.mixture[-1].weight.grad)


@pytest.mark.parametrize("name", ["gmvae", "gmvae_shu"])
@pytest.mark.parametrize("K", [1, 4])
def test_the_evaluated_bound_is_above_the_training_bound(name, K):
    """For one cluster they are equal."""
    samples, gains = 20_000, []
    for seed in range(3):
        torch.manual_seed(seed)
        model, x = tiny(name, K=K, latent=2, seed=seed)
        with torch.no_grad():
            trained = model.objective(x, 1.0, noise_for(model, samples, seed)).value
        log_weights = terms_of(model, x, samples, seed).log_weights()[:, 0]
        gains.append((log_weights.mean(0) - trained) / (log_weights.std(0) / samples**0.5))
    gains = torch.stack(gains)  # in standard errors
    if K == 1:
        assert gains.abs().max() < 4
    else:
        assert gains.min() > -4
        assert gains.max() > 10


def test_the_gain_of_the_gmvae_s_evaluation_is_the_covariance_of_responsibilities_and_log_densities():
    """By quadrature over z for one w: what the docstring claims."""
    model, x = tiny("gmvae", K=3)
    with torch.no_grad():
        q = model.posterior(x)
        mean, log_var = (part[0] for part in model.components(q.mean[0, :1, 1:]))
    z = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    own = Normal(q.mean[0, 0, 0].detach(), q.std[0, 0, 0].detach())
    mass = own.log_prob(z).exp() * (z[1] - z[0])
    a = torch.stack([Normal(mean[c, 0], (0.5 * log_var[c, 0]).exp()).log_prob(z) for c in range(3)])
    r = a.softmax(0)
    kl = -torch.stack([(mass * a[c]).sum() for c in range(3)])  # but for the entropy of q, which both bounds share
    trained = -(mass * ((r * kl[:, None]).sum(0) + (r * (3 * r).log()).sum(0))).sum()
    evaluated = (mass * (a.logsumexp(0) - math.log(3))).sum()
    covariance = (mass * r * a).sum() - ((mass * r).sum(1) * (mass * a).sum(1)).sum()
    torch.testing.assert_close(evaluated - trained, covariance)
    assert covariance > 1e-3


@pytest.mark.parametrize("name", ["cpvae", "gmvae_shu"])
def test_one_category_is_the_plain_vae_with_one_learnt_gaussian_as_prior(name):
    """The same weights, put into a MixtureVAE whose second hidden layer is the joint one."""
    model, x = tiny(name, K=1, latent=2)
    network = {"decoder": {"hidden": [6]}, "encoder": {"hidden": [6, 6]}, "prior": {"name": "mog", "components": 1}}
    spec = {"model": "vae", "dataset": "toy", "likelihood": "bernoulli", "K": 1, "latent": 2, **network}
    vae = build(parse_run(spec), torch.zeros(20, 5), LIKELIHOODS["bernoulli"]).double()
    decoder = {key: value.clone() for key, value in model.decoder.state_dict().items()}
    if name == "cpvae":  # what is constant goes into biases
        joint, heads = model.gated[0], model.gated[-1]
        joint_weight, joint_bias = joint.weight[:, :-1], joint.bias + joint.weight[:, -1]
        first = decoder["layers.0.weight"]
        decoder["layers.0.weight"], decoder["layers.0.bias"] = first[:, :2], decoder["layers.0.bias"] + first[:, 2]
    else:
        heads, joint_weight = model.heads, model.joint_of_x.weight
        joint_bias = model.joint_of_x.bias + model.joint_of_y.weight[:, 0]
    vae.decoder.load_state_dict(decoder)
    vae.prior.load_state_dict(model.prior.state_dict())
    layers = [layer for layer in vae.encoder.modules() if isinstance(layer, BatchedLinear)]
    with torch.no_grad():
        layers[0].load_state_dict(next(m for m in model.encoder.modules() if isinstance(m, BatchedLinear)).state_dict())
        for layer, weight, bias in zip(layers[1:], (joint_weight, heads.weight), (joint_bias, heads.bias), strict=True):
            layer.weight.copy_(weight.T[None])
            layer.bias.copy_(bias[None, None])
        noise, prior = noise_for(model, 20), vae.prior_distribution(torch.float64)
        expected = vae.log_terms(x, vae.posterior(x), prior, noise[..., :2])
    for found, value in zip(terms_of(model, x, 20), expected, strict=True):
        torch.testing.assert_close(found, value)
    # and training maximises the same ELBO, up to the Monte Carlo error of a KL that is in closed form here
    many = noise_for(model, 20_000)
    with torch.no_grad():
        elbo = vae.log_terms(x, vae.posterior(x), prior, many[..., :2]).log_weights()[:, 0]
        gap = model.objective(x, 1.0, many).value - elbo.mean(0)
    assert (gap.abs() < 4 * elbo.std(0) / len(many) ** 0.5).all()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_parameter(name, likelihood):
    model, x = tiny(name, likelihood, latent=2)
    model.objective(x, 0.5, noise_for(model, 2)).value.mean().backward()
    for label, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, label


@pytest.mark.parametrize("name", MODELS)
def test_what_other_stages_ask_of_a_model(name):
    model, x = tiny(name, latent=2)
    model.float()
    x = x.float()
    mean, std = model.codes(x)
    assert mean.shape == std.shape == (1, POINTS, 2)
    torch.testing.assert_close(model.expectation(x, noise_for(model, 1)), mean[0])
    probabilities = model.categories(x)
    assert probabilities.shape == (POINTS, 3)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(POINTS))
    torch.testing.assert_close(probabilities, model.categories(x), rtol=0, atol=0)
    for made, rows in ((model.reconstruct(x)[0], POINTS), (model.sample(7), 7), (model.sample_component(1, 4), 4)):
        assert made.shape == (rows, 5)
        assert (made >= 0).all()
        assert (made <= 1).all()


def test_the_codes_of_shu_s_model_are_the_moments_of_its_posterior():
    model, x = tiny("gmvae_shu", latent=2)
    z = model._draw(model.posterior(x), noise_for(model, 40_000))[:, 0].detach()
    mean, std = (part[0].detach() for part in model.codes(x))
    assert ((z.mean(0) - mean).abs() < 4 * std / 200).all()
    torch.testing.assert_close(z.std(0), std, rtol=0.03, atol=0)


@pytest.mark.parametrize("name", MODELS)
def test_samples_of_a_category_come_from_its_gaussian(name):
    model, _ = tiny(name, latent=2)
    with torch.no_grad():
        if name == "gmvae":  # p(z | c, w) that does not depend on w
            model.mixture[-1].weight.zero_()
            model.mixture[-1].bias[6:] = -9.0
            means = model.mixture[-1].bias[:6].view(3, 2)
        else:
            model.prior.log_var.fill_(-9.0)
            means = model.prior.mean
        torch.manual_seed(0)
        found = torch.stack([model.sample_component(c, 3000).mean(0) for c in range(3)])
        # log-variances are clipped at -6
        z = means[:, None] + math.exp(-3) * torch.randn(3, 3000, 2, dtype=torch.float64)
        code = torch.cat((z, torch.eye(3, dtype=torch.float64)[:, None].expand(-1, 3000, -1)), -1) if name == "cpvae" else z
        torch.testing.assert_close(found, model.decoder([code], None).sigmoid().mean(1), atol=0.01, rtol=0)
        torch.testing.assert_close(model.sample(9000).mean(0), found.mean(0), atol=0.02, rtol=0)


def test_cpvae_samples_from_given_categories_and_aggregates_them():
    model, x = tiny("cpvae", latent=2)
    torch.testing.assert_close(model.marginal(x), torch.stack([model.categories(row[None])[0] for row in x]).mean(0))
    assert abs(model.marginal(x).sum().item() - 1) < 1e-12
    with torch.no_grad():
        torch.manual_seed(0)
        only = model.sample(3000, torch.tensor([0.0, 0.0, 1.0])).mean(0)
        torch.testing.assert_close(only, model.sample_component(2, 3000).mean(0), atol=0.02, rtol=0)
        mixed = model.sample(6000, torch.tensor([0.7, 0.0, 0.3])).mean(0)
        expected = 0.7 * model.sample_component(0, 3000).mean(0) + 0.3 * only
        torch.testing.assert_close(mixed, expected, atol=0.03, rtol=0)


def test_the_gmvae_s_responsibilities_are_those_at_the_means():
    model, x = tiny("gmvae", latent=2)
    with torch.no_grad():
        q = model.posterior(x).mean[0]
        for b in range(POINTS):
            out = model.mixture(q[b, 2:]).view(2, 3, 2)
            density = Normal(out[0], out[1].clamp(-6, 2).div(2).exp()).log_prob(q[b, :2]).sum(-1).exp()
            torch.testing.assert_close(model.categories(x)[b], density / density.sum())


@pytest.mark.parametrize(("name", "seed"), [("cpvae", 1), ("gmvae", 2), ("gmvae_shu", 1)])
def test_training_separates_two_clusters(name, seed):
    """Two Gaussians in one dimension, eight standard deviations apart (Lavda et al.), in float32 as in the pipeline."""
    y = torch.arange(200) % 2
    x = 0.3 + 0.4 * y[:, None] + 0.02 * torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
    network = {"encoder": {"hidden": [16]}, "decoder": {"hidden": [16]}}
    spec = {"model": name, "dataset": "toy", "likelihood": {"name": "gaussian", "std": 0.05}, "K": 2, "latent": 1, "seed": seed}
    extra = {"latent_w": 1, "mixture": {"hidden": [8]}} if name == "gmvae" else {}
    model = build(parse_run({**spec, **network, **extra}), x, (1,))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for step in range(300):
        optimiser.zero_grad()
        noise = torch.randn(1, 1, len(x), model.noise_size)
        (-model.objective(x, min(1.0, step / 100), noise).value.mean()).backward()
        optimiser.step()
    assert cluster_accuracy(y.numpy(), model.categories(x).argmax(1).numpy()) > 0.95


def test_drawn_categories_have_the_given_frequencies():
    log_p = torch.tensor([[0.5, 0.2, 0.0, 0.3], [0.05, 0.05, 0.1, 0.8]]).log()
    noise = torch.randn(40_000, 2, generator=torch.Generator().manual_seed(0))
    share = one_hot(draw_categories(log_p, noise), 4).double().mean(0)
    torch.testing.assert_close(share, log_p.exp().double(), atol=0.01, rtol=0)
    assert share[0, 2] == 0


@pytest.mark.parametrize("place", [0, 2, 4])
def test_extreme_noise_never_draws_a_category_without_mass(place):
    """Its weight would be exp(100) too large."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(50, 5, generator=generator)
    logits[:, place] = -100.0
    noise = torch.cat((torch.tensor([-5.9, 5.9]), torch.randn(2000, generator=generator)))
    drawn = draw_categories(logits.log_softmax(-1), noise[:, None].expand(-1, 50))
    assert not (drawn == place).any()
    assert set(drawn.unique().tolist()) == set(range(5)) - {place}


def test_kl_divergences_match_torch_s():
    generator = torch.Generator().manual_seed(0)
    a, b, c, d = torch.randn(4, 3, 4, 2, generator=generator, dtype=torch.float64)
    expected = kl_divergence(Normal(a, (b / 2).exp()), Normal(c, (d / 2).exp())).sum(-1)
    torch.testing.assert_close(gaussian_kl(a, b, c, d), expected)
    m, v, n, u = a[:, 0], b[:, 0], c[0], d[0]
    each = kl_divergence(Normal(m[:, None], (v / 2).exp()[:, None]), Normal(n, (u / 2).exp())).sum(-1)
    torch.testing.assert_close(gaussian_kl_to_each(m, v, n, u), each)
    in_float32 = gaussian_kl_to_each(m.float(), v.float(), n.float() + 3, u.float() - 6)
    shifted = kl_divergence(Normal(m[:, None], (v / 2).exp()[:, None]), Normal(n + 3, (u / 2 - 3).exp())).sum(-1)
    torch.testing.assert_close(in_float32.double(), shifted, rtol=1e-5, atol=1e-3)
    q = Categorical(logits=a)
    torch.testing.assert_close(uniform_kl(q.logits), kl_divergence(q, Categorical(torch.ones_like(a))))
    assert uniform_kl(torch.tensor([[0.0, -200.0]])).isfinite().all()


def test_cluster_accuracy_is_one_for_renamed_classes():
    labels = np.array([0, 0, 1, 2, 2, 2, 5])
    renamed = np.array([7, 7, 0, 3, 3, 3, 1])
    assert cluster_accuracy(labels, renamed) == cluster_purity(labels, renamed) == 1


@pytest.mark.parametrize(("classes", "clusters"), [(3, 3), (2, 4), (4, 2)])
def test_cluster_scores_are_the_best_of_all_maps(classes, clusters):
    rng = np.random.default_rng(classes)
    for _ in range(5):
        labels, assignment = rng.integers(classes, size=30), rng.integers(clusters, size=30)
        # one-to-one: as many names as the larger side has
        one_to_one = (np.array(p)[assignment] for p in itertools.permutations(range(max(classes, clusters))))
        assert cluster_accuracy(labels, assignment) == max(np.mean(named == labels) for named in one_to_one)
        many_to_one = (np.array(p)[assignment] for p in itertools.product(range(classes), repeat=clusters))
        assert cluster_purity(labels, assignment) == max(np.mean(named == labels) for named in many_to_one)


def test_purity_is_inflated_by_more_clusters_and_accuracy_is_not():
    labels = np.repeat([0, 1], 50)
    finest = np.arange(100)
    assert cluster_purity(labels, finest) == 1
    assert cluster_accuracy(labels, finest) == 0.02


def test_a_sampled_bound_of_the_terms_is_the_elbo():
    """`bound` on L = 1 terms averages to what evaluation calls the elbo."""
    model, x = tiny("cpvae")
    terms = terms_of(model, x, 1)
    torch.testing.assert_close(bound(terms).value, terms.log_weights()[0, 0])
