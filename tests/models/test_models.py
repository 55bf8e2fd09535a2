"""The mixture VAE as a whole."""

import numpy as np
import pytest
import torch
from scipy import stats
from support.specs import points, small_spec
from torch.distributions import Normal, kl_divergence

from mixvae.fitting.runs import build_for
from mixvae.models import build
from mixvae.models.objectives import miselbo
from mixvae.nets import BatchedLinear, mlp
from mixvae.study import parse_run


@pytest.mark.parametrize(("K", "parameters"), [(1, 1_116_864), (4, 3_143_904)])
def test_paper_mlp_has_the_published_number_of_parameters(K, parameters):
    spec = parse_run({"dataset": "mnist", "likelihood": "bernoulli", "model": "vae", "K": K})
    model = build(spec, torch.zeros(10, 784), (1, 28, 28))
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_one_component_is_the_plain_vae_with_the_analytic_kl(prepared):
    data = prepared("digits")
    x = points(data, n=4)
    model = build_for(small_spec(K=1), data).eval()
    with torch.no_grad():
        L = 40_000
        noise = torch.randn(L, 1, 4, 3)
        q = model.posterior(x)
        terms = model.log_terms(x, q, model.prior_distribution(), noise)
        # a plain VAE, written out
        mean, std = q.mean[0], q.std[0]
        logits = model.decoder([mean + std * noise[:, 0]], x)
        reconstruction = -torch.nn.functional.binary_cross_entropy_with_logits(
            logits, x.expand(L, -1, -1), reduction="none"
        ).sum(-1)
        kl = kl_divergence(Normal(mean, std), Normal(0.0, 1.0)).sum(-1)
    np.testing.assert_allclose(terms.log_likelihood[:, 0], reconstruction, atol=1e-4)
    sampled = terms.log_mixture - terms.log_prior
    error = sampled.std(0)[0] / L**0.5
    assert torch.all((sampled.mean((0, 1)) - kl).abs() < 5 * error)
    np.testing.assert_allclose(miselbo(terms), reconstruction.mean(0) - kl, atol=0.02)


def test_small_data_gets_fewer_pseudo_inputs(prepared):
    model = build_for(small_spec(prior={"name": "vamp", "components": 500}), prepared("digits"))
    assert len(model.prior.free) == 129


@pytest.mark.parametrize("activation", ["gated", "relu"])
def test_batched_networks_equal_a_loop_over_linear_layers(activation):
    torch.manual_seed(0)
    K, sizes, out = 3, (5, 7, 6), 4
    net = mlp(lambda a, b: BatchedLinear(K, a, b), sizes, out, activation, 0.0).double()
    x = torch.randn(8, 5, dtype=torch.float64)
    result = net(x)
    for k in range(K):
        h = x
        layers = [layer for layer in net if isinstance(layer, BatchedLinear)]
        for number, layer in enumerate(layers):
            h = torch.nn.functional.linear(h, layer.weight[k].T, layer.bias[k, 0])
            if number < len(layers) - 1:
                if activation == "gated":
                    value, gate = h[:, : h.shape[1] // 2], h[:, h.shape[1] // 2 :]
                    h = value * torch.sigmoid(gate)
                else:
                    h = h.clamp_min(0)
        np.testing.assert_allclose(result[k].detach(), h.detach(), atol=1e-12)


def test_constant_control_is_the_marginal(prepared):
    for dataset, likelihood in (("digits", "bernoulli"), ("pbmc68k_reduced", "nb")):
        data = prepared(dataset)
        train, test = torch.from_numpy(data.points("train", binary=False)), points(data)
        model = build_for(parse_run({"model": "constant", "dataset": dataset, "likelihood": likelihood}), data)
        with torch.no_grad():
            terms = model.log_terms(test, None, None, torch.zeros(1, 1, len(test), 0))
        assert terms.log_likelihood.shape == (1, 1, len(test))
        assert torch.isfinite(terms.log_likelihood).all()
        if likelihood == "bernoulli":
            p = (train.double().sum(0) + 1) / (len(train) + 2)
            expected = (test * p.log() + (1 - test) * (1 - p).log()).sum(-1)
        else:
            share = (train.double().sum(0) + 1) / (train.double().sum() + train.shape[1])
            theta = model.likelihood.log_theta.detach().double().exp()
            mean = test.double().sum(1, keepdim=True) * share
            expected = torch.distributions.NegativeBinomial(theta, logits=(mean / theta).log()).log_prob(test.double()).sum(-1)
        np.testing.assert_allclose(terms.log_likelihood[0, 0], expected, rtol=1e-4)


def test_constant_control_of_real_numbers_is_a_gaussian_at_their_mean(prepared):
    data = prepared("toy1d")
    spec = parse_run({"model": "constant", "dataset": "toy1d", "likelihood": {"name": "gaussian", "std": 0.3}})
    x = points(data, n=20)
    with torch.no_grad():
        terms = build_for(spec, data).log_terms(x, None, None, torch.zeros(1, 1, 20, 0))
    expected = stats.norm(data.arrays["x_train"].mean(), 0.3).logpdf(x.numpy())[:, 0]
    np.testing.assert_allclose(terms.log_weights()[0, 0], expected, rtol=1e-4)


def test_constant_control_of_colours_is_the_histogram_of_every_level(prepared):
    data = prepared("colours")
    spec = parse_run({"model": "constant", "dataset": "colours", "likelihood": "logistics"})
    model, x = build_for(spec, data), points(data, n=5)
    with torch.no_grad():
        terms = model.log_terms(x, None, None, torch.zeros(1, 1, 5, 0))
    train, test = (data.arrays[f"x_{part}"].reshape(-1, 192) for part in ("train", "test"))
    expected = [sum(np.log((np.sum(train[:, i] == image[i]) + 1) / (240 + 256)) for i in range(192)) for image in test[:5]]
    np.testing.assert_allclose(terms.log_weights()[0, 0], expected, rtol=1e-5)
    assert terms.log_weights().shape == (1, 1, 5)
