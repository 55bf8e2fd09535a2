"""The likelihoods of real numbers and of colours, and the factory; counts and binary pixels are in test_distributions.py."""

import math

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from scipy import stats
from torch.nn.functional import logsigmoid

from mixvae.distributions.likelihoods import Bernoulli, Gaussian, Logistics, ZeroInflatedNegativeBinomial, likelihood
from mixvae.distributions.likelihoods.counts import NegativeBinomialCounts, ZeroInflated
from mixvae.study import parts

LEVELS = torch.arange(256)


def named(**settings):
    return TypeAdapter(parts.Likelihood).validate_python(settings)


@pytest.mark.parametrize(
    ("settings", "shape", "parameters"),
    [
        ({"name": "bernoulli"}, (1, 4, 5), 20),
        ({"name": "nb"}, (7,), 7),
        ({"name": "zinb"}, (7,), 14),
        ({"name": "gaussian"}, (3, 4, 5), 60),
        ({"name": "gaussian"}, (1,), 1),
        ({"name": "logistics", "mixtures": 2}, (3, 4, 5), 400),
    ],
    ids=str,
)
def test_every_likelihood_scores_points_and_trains_its_parameters(settings, shape, parameters):
    module = likelihood(named(**settings), shape)
    assert module.parameters_per_point == parameters
    torch.manual_seed(0)
    x = torch.randint(0, 2, (6, math.prod(shape))).float()
    x[:, 0] = 1  # no cell without a count
    h = torch.randn(2, 3, 6, parameters, requires_grad=True)
    distribution = module(h, x)
    assert distribution.log_prob(x).shape == (2, 3, 6)
    assert distribution.mean.shape == (2, 3, 6, math.prod(shape))
    gradient = torch.autograd.grad(distribution.log_prob(x).sum(), h)[0]
    assert torch.isfinite(gradient).all()
    inputs = module.encoder_input(x)
    free = module.unconstrain(inputs).requires_grad_()
    torch.testing.assert_close(module.constrain(free), inputs, atol=0.06, rtol=0.01)
    module.constrain(free).sum().backward()
    assert (free.grad > 0).all()


def test_gaussian_is_the_normal_of_scipy():
    h, x = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    ours = Gaussian((3,), 0.3)(h, None)
    np.testing.assert_allclose(ours.log_prob(x), stats.norm(h, 0.3).logpdf(x).sum(-1))
    np.testing.assert_array_equal(ours.mean, h)


def test_only_images_of_real_levels_are_kept_between_0_and_1():
    x = torch.tensor([[-3.0, 0.5, 4.0]])
    np.testing.assert_array_equal(Gaussian((3,), 0.1).constrain(x), x)
    np.testing.assert_array_equal(Gaussian((1, 1, 3), 0.1).constrain(x), [[0, 0.5, 1]])


def pixel(M, means, log_scales, coefficients=0.0, logits=0.0, dtype=torch.float64):
    """The parameters of one pixel; each argument broadcasts to (M, 3), the logits to (M,)."""
    logits = torch.as_tensor(logits, dtype=dtype).expand(M)
    rest = [torch.as_tensor(part, dtype=dtype).expand(M, 3).flatten() for part in (means, log_scales, coefficients)]
    return torch.cat([logits, *rest])


def joint(h, M, first=0, second=1, coefficient=0):
    """The 256 x 256 probabilities of two channels of one pixel, from scipy's logistic CDF; the third must not matter."""
    logits, rest = np.split(h.double().numpy(), [M])
    means, log_scales, coefficients = rest.reshape(3, M, 3)
    weights = np.exp(logits) / np.exp(logits).sum()
    total = np.zeros((256, 256))
    for weight, mean, scale, c in zip(weights, means, np.exp(log_scales), np.tanh(coefficients[:, coefficient]), strict=True):
        given = np.stack([masses(mean[second] + c * value, scale[second]) for value in SCALED])
        total += weight * masses(mean[first], scale[first])[:, None] * given
    return total


SCALED = np.arange(256) / 127.5 - 1
EDGES = np.concatenate([[-np.inf], SCALED[:-1] + 1 / 255, [np.inf]])


def masses(mean, scale):
    return np.diff(stats.logistic(mean, scale).cdf(EDGES))


def reference(h, M, levels):
    """log p(r, g, b) of one pixel from CDF differences of scipy's logistic, one component after the other."""
    logits, rest = np.split(h.double().numpy(), [M])
    means, log_scales, coefficients = rest.reshape(3, M, 3)
    r, g, b = levels
    total = 0.0
    for m in range(M):
        c, s = np.tanh(coefficients[m]), np.exp(log_scales[m])
        green = means[m, 1] + c[0] * SCALED[r]
        blue = means[m, 2] + c[1] * SCALED[r] + c[2] * SCALED[g]
        mass = masses(means[m, 0], s[0])[r] * masses(green, s[1])[g] * masses(blue, s[2])[b]
        total += np.exp(logits[m]) * mass
    return np.log(total / np.exp(logits).sum())


def test_colours_have_the_probability_of_brute_force():
    torch.manual_seed(0)
    M = 3
    points = torch.tensor([[0, 255, 254], [254, 254, 254], [1, 0, 0], [255, 255, 255], [17, 128, 201]])
    for _ in range(5):
        # scales at which differences of two CDFs still have digits
        h = pixel(M, torch.randn(M, 3), 0.5 * torch.randn(M, 3) - 1, torch.randn(M, 3), torch.randn(M))
        ours = Logistics((3, 1, 1), M)(h, None).log_prob(points.double() / 255)
        np.testing.assert_allclose(ours, [reference(h, M, levels) for levels in points.tolist()], rtol=1e-8)


def test_an_image_is_the_product_of_its_pixels_in_parameter_major_order():
    torch.manual_seed(0)
    M, H, W = 2, 2, 3
    h, x = torch.randn(10 * M, H, W, dtype=torch.float64), torch.randint(0, 256, (3, H, W))
    whole = Logistics((3, H, W), M)(h.flatten(), None).log_prob(x.double().flatten() / 255)
    expected = sum(reference(h[:, i, j], M, x[:, i, j].tolist()) for i in range(H) for j in range(W))
    np.testing.assert_allclose(whole, expected, rtol=1e-8)


@pytest.mark.parametrize("channel", range(3))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_256_probabilities_of_a_channel_add_up_to_one(channel, dtype):
    torch.manual_seed(0)
    M = 2
    # all other channels are certainly 0, so that the probability of the pixel is that of the channel
    x = torch.zeros(256, 3, dtype=dtype)
    x[:, channel] = LEVELS / 255
    others = torch.arange(3) != channel
    for mean in (-40.0, -1.0, -0.999, 0.0, 0.3, 0.996, 1.0, 1.003, 40.0):
        for log_scale in (-30.0, -7.0, -5.0, -1.0, 3.0, 7.0, 30.0):
            means = torch.where(others, -1e6, mean + 0.01 * torch.randn(M, 3))
            scales = torch.where(others, -7, log_scale)
            h = pixel(M, means, scales, torch.randn(M, 3), torch.randn(M), dtype)
            total = Logistics((3, 1, 1), M)(h, None).log_prob(x).logsumexp(0).exp()
            assert abs(total.item() - 1) < (1e-9 if dtype == torch.float64 else 1e-4), (mean, log_scale)


def test_all_greens_and_blues_given_a_red_add_up_to_its_probability():
    torch.manual_seed(0)
    M = 2
    h = pixel(M, 0.5 * torch.randn(M, 3), torch.randn(M, 3) - 1, torch.randn(M, 3), torch.randn(M))
    green, blue = (part.flatten() for part in torch.meshgrid(LEVELS, LEVELS, indexing="ij"))
    for red in (0, 100, 255):
        x = torch.stack([torch.full_like(green, red), green, blue], dim=-1).double() / 255
        total = Logistics((3, 1, 1), M)(h, None).log_prob(x).logsumexp(0).exp()
        np.testing.assert_allclose(total, joint(h, M)[red].sum(), rtol=1e-9)
    np.testing.assert_allclose(joint(h, M).sum(), 1)


def test_float32_keeps_its_precision_and_gradients_far_from_the_data():
    torch.manual_seed(0)
    M = 2
    points = torch.tensor([[0, 255, 254], [1, 128, 3], [255, 0, 127]])
    for mean in (-1e4, -30.0, 0.0, 30.0, 1e4):
        for log_scale in (-100.0, -7.0, 0.0, 6.0, 100.0):
            h = pixel(M, mean + torch.randn(M, 3), log_scale, torch.randn(M, 3), torch.randn(M), torch.float32)
            h.requires_grad_()
            module = Logistics((3, 1, 1), M)
            log_prob = module(h, None).log_prob(points / 255)
            exact = module(h.detach().double(), None).log_prob(points.double() / 255)
            np.testing.assert_allclose(log_prob.detach(), exact, rtol=1e-4, atol=1e-3)
            (gradient,) = torch.autograd.grad(log_prob.sum(), h)
            assert torch.isfinite(gradient).all(), (mean, log_scale)


@pytest.mark.parametrize(("first", "second", "coefficient"), [(0, 1, 0), (0, 2, 1), (1, 2, 2)])
def test_samples_have_the_moments_of_the_probabilities(first, second, coefficient):
    torch.manual_seed(0)
    M = 2
    coefficients = torch.zeros(M, 3)
    coefficients[:, coefficient] = torch.tensor([2.0, 1.0])
    h = pixel(M, torch.tensor([[-0.6, 0.3, 0.1], [0.5, -0.2, 0.1]]), -1.5, coefficients, torch.tensor([0.4, 0.0]))
    distribution = Logistics((3, 1, 1), M)(h, None)
    x = distribution.sample((20_000,))
    assert x.shape == (20_000, 3)
    np.testing.assert_allclose(255 * x, (255 * x).round(), atol=1e-9)
    p, values = joint(h, M, first, second, coefficient), np.arange(256) / 255
    tolerance = 5 * x.std().item() / math.sqrt(len(x))
    a, b = x[:, first], x[:, second]
    np.testing.assert_allclose([a.mean(), b.mean()], [p.sum(1) @ values, p.sum(0) @ values], atol=tolerance)
    product = values @ p @ values
    np.testing.assert_allclose((a * b).mean(), product, atol=tolerance)
    assert abs(product - a.mean() * b.mean()) > tolerance
    np.testing.assert_allclose(distribution.mean, x.mean(0), atol=0.02)


def test_samples_of_a_narrow_logistic_are_its_likeliest_level():
    torch.manual_seed(0)
    for level in (0.0, 3.3, 99.8, 254.7, 255.0):
        h = pixel(1, torch.tensor([level / 127.5 - 1, -9, 9]), -7.0)
        distribution = Logistics((3, 1, 1), 1)(h, None)
        x = torch.stack([LEVELS / 255, torch.zeros(256), torch.ones(256)], dim=-1).double()
        assert (255 * distribution.sample((101,))[:, 0]).median() == distribution.log_prob(x).argmax() == round(level)


def test_mean_of_red_is_exact_up_to_rounding():
    for mean in (-1.5, -0.98, 0.2, 1.0, 30.0):
        for log_scale in (-7.0, -2.0, 1.0, 7.0):
            h = pixel(1, mean, log_scale)
            exact = masses(mean, math.exp(log_scale)) @ (np.arange(256) / 255)
            ours = Logistics((3, 1, 1), 1)(h, None).mean
            assert abs(ours[0].item() - exact) < 0.5 / 255 + 1e-9
            assert ((ours >= 0) & (ours <= 1)).all()


def inputs(kind):
    """Return a log-likelihood as a function of all its parameters, and float64 parameters, some of them far out."""
    torch.manual_seed(0)
    far = torch.cat((torch.randn(40), 30 * torch.randn(8))).double()
    counts = torch.cat((torch.zeros(24), torch.poisson(torch.full((23,), 3.0)), torch.tensor([2000.0]))).double()[
        torch.randperm(48)
    ]
    h, pi, theta = far.view(2, 3, 8), far[torch.randperm(48)].view(2, 3, 8), torch.linspace(-3, 6, 8).double()
    match kind:
        case "bernoulli":
            x = (counts > 0).double().view(6, 8)[:3]
            return (lambda h: Bernoulli((8,))(h, None).log_prob(x)), (h,), (lambda h: pixels_by_torch(h, x))
        case "nb":
            x = counts.view(6, 8)[:3]
            return (
                (lambda h, theta: NegativeBinomialCounts(h, theta).log_prob(x)),
                (h, theta),
                (lambda h, theta: counts_by_torch(h, theta, x)),
            )
        case "zinb":
            x = counts.view(6, 8)[3:]
            return (
                (lambda h, theta, pi: ZeroInflated(NegativeBinomialCounts(h, theta), pi).log_prob(x)),
                (h, theta, pi),
                (lambda h, theta, pi: inflated_by_torch(h, theta, pi, x)),
            )


def pixels_by_torch(h, x):
    return torch.distributions.Bernoulli(logits=h).log_prob(x.expand_as(h)).sum(-1)


def counts_by_torch(log_mean, log_theta, x):
    return torch.distributions.NegativeBinomial(log_theta.exp(), logits=log_mean - log_theta).log_prob(x)


def inflated_by_torch(log_mean, log_theta, pi, x):
    seen = logsigmoid(-pi) + counts_by_torch(log_mean, log_theta, x)
    return torch.where(x == 0, torch.logaddexp(logsigmoid(pi), seen), seen)


@pytest.mark.parametrize("kind", ["bernoulli", "nb", "zinb"])
def test_densities_with_gradients_of_their_own_are_those_of_torch_and_autograd(kind):
    ours, parameters, theirs = inputs(kind)
    parameters = [parameter.requires_grad_() for parameter in parameters]
    values = [function(*parameters) for function in (ours, theirs)]
    torch.testing.assert_close(*values, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(values[0])
    gradients = [torch.autograd.grad(value, parameters, weights) for value in values]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", ["bernoulli", "nb", "zinb"])
def test_gradients_of_their_own_are_finite_differences(kind):
    ours, parameters, _ = inputs(kind)
    # numbers near 0: next to |h| = 1000 a finite difference has no digits
    near = [parameter.clamp(-2, 2).clone().requires_grad_() for parameter in parameters]
    assert torch.autograd.gradcheck(ours, near)


@pytest.mark.parametrize(
    ("log_mean", "log_theta", "x"), [(7.7, -2.0, 2000), (10.0, -2.0, 20_000), (-3.0, 8.0, 2), (3.0, 8.0, 25)]
)
def test_gradients_of_counts_keep_their_digits_in_float32(log_mean, log_theta, x):
    exact = x / (1 + math.exp(log_mean - log_theta)) - math.exp(log_theta) / (1 + math.exp(log_theta - log_mean))
    logits = torch.tensor([log_mean], requires_grad=True)
    NegativeBinomialCounts(logits, torch.tensor([log_theta])).log_prob(torch.tensor([float(x)])).backward()
    assert logits.grad.item() == pytest.approx(exact, rel=2e-3)


@pytest.mark.parametrize(("pi", "x"), [(14.0, 0.0), (40.0, 0.0), (-4.0, 3.0), (8.0, 3.0), (-4.0, 0.0)])
def test_gradients_of_the_inflation_keep_their_digits_in_float32(pi, x):
    values = []
    for dtype in (torch.float32, torch.float64):
        logit = torch.tensor([pi], dtype=dtype, requires_grad=True)
        counts = NegativeBinomialCounts(torch.tensor([0.5], dtype=dtype), torch.tensor([0.2], dtype=dtype))
        ZeroInflated(counts, logit).log_prob(torch.tensor([x], dtype=dtype)).backward()
        values.append(logit.grad.item())
    assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_float32_loses_no_digits_to_large_counts_and_dispersions():
    likelihood = ZeroInflatedNegativeBinomial((64,))
    torch.manual_seed(0)
    likelihood.counts.log_theta.data = torch.linspace(-4, 9, 64)
    h, x = torch.randn(3, 5, 128), torch.poisson(torch.rand(5, 64) * 400)
    single = likelihood(h, x).log_prob(x)
    double = likelihood.double()(h.double(), x.double()).log_prob(x.double())
    torch.testing.assert_close(single.double(), double, rtol=1e-6, atol=0)
