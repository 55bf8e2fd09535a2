"""The hierarchical mixture VAE: its joint mixture by brute force, and its likelihood by numerical integration."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import simpson
from support.specs import points, small_spec

from mixvae.fitting.runs import build_for
from mixvae.measuring.evaluation import evaluate
from mixvae.models import build
from mixvae.models.objectives import bound, miselbo
from mixvae.nets import BatchedLinear

FLOWS = ["none", {"name": "iaf", "hidden": [8]}, {"name": "coupling", "steps": 3, "hidden": [8]}]
Z1, Z2, K, B, L = 3, 2, 3, 4, 2


def hvae_spec(**changes):
    layers = {"lower": {"hidden": [8]}, "joint": 7, "conditional": {"hidden": [6]}}
    return small_spec(**{"model": "hvae", "K": K, "latent": Z1, "latent_top": Z2, **layers, **changes})


def gated(x, weight, bias):
    """h(x) * sigmoid(g(x)) of (in,) in numpy."""
    h, g = np.split(x @ weight + bias, 2)
    return h / (1 + np.exp(-g))


def weights(network, number, j):
    """Weight (in, out) and bias of map j of the network's batched layer of this number."""
    layer = [module for module in network.modules() if isinstance(module, BatchedLinear)][number]
    return layer.weight[j].detach().numpy(), layer.bias[j, 0].detach().numpy()


def lower_posterior(model, j, x, z2):
    """Mean and standard deviation of q_j(z1 | x, z2), layer by layer in numpy."""
    of_x = gated(x, *weights(model.lower.of_x, 0, j))
    of_top = gated(z2, *weights(model.lower.of_top, 0, j))
    joint = gated(np.concatenate([of_x, of_top]), *weights(model.lower.heads, 0, j))
    weight, bias = weights(model.lower.heads, 1, j)
    mean, log_var = np.split(joint @ weight + bias, 2)
    return mean, np.exp(0.5 * np.clip(log_var, -6, 2))


def upper_posterior(model, j, x):
    """Mean and standard deviation of q_j(z2 | x)."""
    weight, bias = weights(model.upper, 1, j)
    mean, log_var = np.split(gated(x, *weights(model.upper, 0, j)) @ weight + bias, 2)
    return mean, np.exp(0.5 * np.clip(log_var, -6, 2))


def sharpened(model):
    """In float64, with weights that make the components differ."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.data.mul_(2.0)
    return model.double().eval()


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow if flow == "none" else flow["name"])
def test_the_mixture_is_over_both_layers_jointly(prepared, flow):
    """log 1/K sum_j q_j(z2_k | x) q_j(z1_k | x, z2_k), one number at a time, through every component's own flow."""
    data = prepared("digits")
    model, x = sharpened(build_for(hvae_spec(flow=flow), data)), points(data, n=B).double()
    noise = torch.randn(L, K, B, Z1 + Z2, dtype=torch.float64)
    with torch.no_grad():
        z1, z2, log_components = model.draw(model.posterior(x), noise)
        terms = model.log_terms(x, model.posterior(x), model.prior_distribution(torch.float64), noise)
        # the base variable of z1 and the determinant under every j
        flat = z1.reshape(1, -1, Z1).expand(K, -1, -1)
        base, log_det = (part.reshape(K, L, K, B, *part.shape[2:]).numpy() for part in model.flow.inverse(flat))
    expected = np.empty((K, L, K, B))
    for j, l_, k, b in np.ndindex(K, L, K, B):
        mean2, std2 = upper_posterior(model, j, x[b].numpy())
        mean1, std1 = lower_posterior(model, j, x[b].numpy(), z2[l_, k, b].numpy())
        expected[j, l_, k, b] = (
            stats.norm(mean2, std2).logpdf(z2[l_, k, b]).sum()
            + stats.norm(mean1, std1).logpdf(base[j, l_, k, b]).sum()
            - log_det[j, l_, k, b]
        )
        if j == k:  # component k drew sample k
            np.testing.assert_allclose(mean2 + std2 * noise[l_, k, b, Z1:].numpy(), z2[l_, k, b], atol=1e-9)
            np.testing.assert_allclose(mean1 + std1 * noise[l_, k, b, :Z1].numpy(), base[j, l_, k, b], atol=1e-8)
    np.testing.assert_allclose(log_components, expected, atol=1e-8)
    np.testing.assert_allclose(terms.log_mixture, np.logaddexp.reduce(expected) - np.log(K), atol=1e-8)
    own = np.stack([expected[k, :, k] for k in range(K)], axis=1)
    np.testing.assert_allclose(terms.log_component, own, atol=1e-8)
    assert (terms.log_mixture - terms.log_component).abs().max() > 0.01


def test_prior_and_likelihood_are_those_of_both_layers(prepared):
    """log p(z2) + log p(z1 | z2) and log p(x | z1, z2), layer by layer in numpy."""
    data = prepared("digits")
    model, x = sharpened(build_for(hvae_spec(), data)), points(data, n=B).double()
    noise = torch.randn(L, K, B, Z1 + Z2, dtype=torch.float64)
    with torch.no_grad():
        z1, z2, _ = model.draw(model.posterior(x), noise)
        terms = model.log_terms(x, model.posterior(x), model.prior_distribution(torch.float64), noise)

    def linear(layer):
        return layer.weight.detach().numpy().T, layer.bias.detach().numpy()

    for index in np.ndindex(L, K, B):
        a, b = z1[index].numpy(), z2[index].numpy()
        hidden = gated(b, *linear(model.conditional[0]))
        weight, bias = linear(model.conditional[2])
        mean, log_var = np.split(hidden @ weight + bias, 2)
        log_prior = stats.norm.logpdf(b).sum() + stats.norm(mean, np.exp(0.5 * np.clip(log_var, -6, 2))).logpdf(a).sum()
        np.testing.assert_allclose(terms.log_prior[index], log_prior, atol=1e-9)
        branches = [gated(z, *linear(branch[0])) for z, branch in zip((a, b), model.decoder.branches, strict=True)]
        weight, bias = linear(model.decoder.layers[-1])
        logits = np.concatenate(branches) @ weight + bias
        log_likelihood = stats.bernoulli(1 / (1 + np.exp(-logits))).logpmf(x[index[-1]].numpy()).sum()
        np.testing.assert_allclose(terms.log_likelihood[index], log_likelihood, atol=1e-8)


@pytest.mark.parametrize("K", [1, 2])
def test_nll_is_the_integral_over_both_layers(prepared, K):
    """-log of p(x) = int int p(x|z1,z2) p(z1|z2) p(z2) dz1 dz2 with one dimension each, on a grid in float64."""
    data = prepared("digits")
    spec = hvae_spec(K=K, latent=1, latent_top=1, prior={"name": "vamp", "components": 3})
    model, x = build_for(spec, data).eval(), points(data, n=3)
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data.mul_(1.3)
    estimates = evaluate(model, x, 20_000 // K, seed=0)
    model.double()
    top, steps = torch.linspace(-9, 9, 361, dtype=torch.float64), torch.linspace(-8, 8, 321, dtype=torch.float64)
    with torch.no_grad():
        mean, log_var = (part.clone() for part in model.conditional(top[:, None]).chunk(2, dim=-1))
        std = (0.5 * log_var.clamp(-6, 2)).exp()
        z1 = mean + std * steps  # (361, 321), in standard deviations of p(z1 | z2)
        log_joint = (
            torch.distributions.Normal(mean, std).log_prob(z1)
            + model.prior_distribution(torch.float64).log_prob(top[:, None])[:, None]
        )
        codes = [z1.reshape(-1, 1, 1), top[:, None].expand_as(z1).reshape(-1, 1, 1)]
        logits = model.decoder(codes, None)[:, 0]
        log_likelihood = logits @ x.double().T - torch.nn.functional.softplus(logits).sum(-1, keepdim=True)
    for b in range(len(x)):
        p = (log_joint + log_likelihood[:, b].view_as(z1)).exp()
        exact = -np.log(simpson(simpson(p, steps * std, axis=1), top))
        # delta method: the standard error of log of a mean of weights with this effective sample size
        error = estimates["ess"][b] ** -0.5
        assert error < 0.02
        assert estimates["nll"][b] == pytest.approx(exact, abs=5 * error)
        assert -estimates["elbo"][b] > exact + 0.05  # far from the truth, or any estimate would do


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow if flow == "none" else flow["name"])
@pytest.mark.parametrize("spec_of", [small_spec, hvae_spec])
def test_identical_components_give_the_value_of_one(prepared, spec_of, flow):
    data = prepared("digits")
    x = points(data, n=6)
    one, four = build_for(spec_of(K=1, flow=flow), data), build_for(spec_of(K=4, flow=flow), data)
    per_component = ("encoder", "upper", "lower", *(["flow"] if flow != "none" and flow["name"] == "coupling" else []))
    four.load_state_dict({
        name: tensor.expand(4, *tensor.shape[1:]).clone() if name.startswith(per_component) else tensor
        for name, tensor in one.state_dict().items()
    })  # fmt: skip
    noise = torch.randn(3, 1, 6, one.noise_size)
    with torch.no_grad():
        a = one.log_terms(x, one.posterior(x), one.prior_distribution(), noise)
        b = four.log_terms(x, four.posterior(x), four.prior_distribution(), noise.expand(-1, 4, -1, -1))
    np.testing.assert_allclose(bound(a).value, bound(b).value, atol=1e-4)
    np.testing.assert_allclose(miselbo(a), miselbo(b), atol=1e-4)
    np.testing.assert_allclose(b.log_mixture, b.log_component, atol=1e-4)


def test_codes_are_the_moments_of_both_layers(prepared):
    """Mean and deviation of q_k(z1 | x, E z2) beside those of q_k(z2 | x), of every component k."""
    data = prepared("digits")
    model, x = sharpened(build_for(hvae_spec(), data)), points(data, n=B).double()
    mean, std = (part.detach().numpy() for part in model.codes(x))
    for k, b in np.ndindex(K, B):
        mean2, std2 = upper_posterior(model, k, x[b].numpy())
        mean1, std1 = lower_posterior(model, k, x[b].numpy(), mean2)
        np.testing.assert_allclose(mean[k, b], np.concatenate([mean1, mean2]), atol=1e-9)
        np.testing.assert_allclose(std[k, b], np.concatenate([std1, std2]), atol=1e-9)


@pytest.mark.parametrize(("spec_of", "parts"), [(small_spec, ["decoder"]), (hvae_spec, ["decoder", "conditional"])])
def test_what_does_not_depend_on_k_starts_the_same_whatever_k(prepared, spec_of, parts):
    one, four = (build_for(spec_of(K=k), prepared("digits")) for k in (1, 4))
    for part in parts:
        a, b = getattr(one, part).state_dict(), getattr(four, part).state_dict()
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_paper_mlp_parameters():
    """Layer by layer for 28x28, 40 + 40 latent units and the widths of the VampPrior paper's HVAE, with K = 2."""
    spec = small_spec(
        dataset="digits", model="hvae", latent=40, latent_top=40, encoder={"hidden": [300, 300]}, decoder={"hidden": [300, 300]}
    )
    model = build(spec, torch.zeros(10, 784), (1, 28, 28))

    def dense(before, after, gates=2):
        return gates * after * (before + 1)

    upper = dense(784, 300) + dense(300, 300) + dense(300, 80, 1)
    lower = dense(784, 300) + dense(40, 300) + dense(600, 300) + dense(300, 80, 1)
    decoder = 2 * dense(40, 300) + dense(600, 300) + dense(300, 784, 1)
    conditional = dense(40, 300) + dense(300, 300) + dense(300, 80, 1)
    assert sum(parameter.numel() for parameter in model.parameters()) == 2 * (upper + lower) + decoder + conditional
