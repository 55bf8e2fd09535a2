"""The toy targets and their fits against quadrature, torch.distributions and Monte Carlo."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from mixvae.data.targets import TARGETS
from mixvae.models.objectives import nll
from mixvae.models.toy import GRID_STEP, LOG_VAR_RANGE, Toy
from mixvae.study import parse_run

FLOWS = [
    {"name": "none"},
    {"name": "iaf", "steps": 3, "hidden": [5]},
    {"name": "coupling", "steps": 2, "hidden": [5]},
    {"name": "spline", "steps": 2, "hidden": [5]},
]


def toy(dataset="bivariate", K=2, flow="none", seed=0):
    torch.manual_seed(seed)
    return Toy(parse_run({"model": "toy", "dataset": dataset, "K": K, "flow": flow}), torch.zeros(1, 2), (2,))


def values(result):
    return {name: value for name, (value, _) in result.items()}


@pytest.fixture
def coarse_grid(monkeypatch):
    """Fine enough for the bivariate target, and sixteen times faster."""
    monkeypatch.setattr("mixvae.models.toy.GRID_STEP", 4 * GRID_STEP)


@pytest.mark.parametrize("name", TARGETS)
def test_targets_are_densities(name):
    axis = torch.arange(-4, 4.005, 0.01, dtype=torch.float64)
    assert TARGETS[name](torch.cartesian_prod(axis, axis)).exp().sum().item() * 0.01**2 == pytest.approx(1, abs=1e-8)


def test_targets_have_the_papers_form():
    z = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    components = Independent(Normal(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]).double(), 0.5), 1)
    mixture = MixtureSameFamily(Categorical(torch.tensor([0.2, 0.8]).double()), components)
    np.testing.assert_allclose(TARGETS["bivariate"](z), mixture.log_prob(z), atol=1e-7)
    # up to a constant, -(|z| - 0.9)^2 / 0.001, largest on the circle of radius 0.9
    shape = TARGETS["ring"](z) - TARGETS["ring"](torch.tensor([[0.0, -0.9]]).double())
    np.testing.assert_allclose(shape, -((z.square().sum(-1).sqrt() - 0.9) ** 2) / 0.001, rtol=1e-7, atol=1e-7)


def test_the_gradient_at_the_middle_of_the_ring_is_finite():
    z = torch.zeros(1, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(TARGETS["ring"](z).sum(), z)
    assert gradient.isfinite().all()


@torch.no_grad()
def test_a_mixture_equal_to_the_target_has_no_divergence():
    """Five equal weights make 0.2 and 0.8: one component on the first mean, four on the second."""
    model = toy(K=5)
    model.mean.copy_(torch.tensor([[-1.0, -1.0]] + 4 * [[1.0, 1.0]]))
    model.log_var.fill_(math.log(0.25))
    result = values(model.extra_metrics(None))
    assert result["kl"] == pytest.approx(0, abs=1e-6)
    assert result["mass"] == pytest.approx(1, abs=1e-7)
    x = torch.zeros(30, 2)
    objective = model.objective(x, 0.0, torch.randn(1, 5, 30, 2))
    np.testing.assert_allclose(objective.value, 0, atol=1e-5)
    terms = model.log_terms(x, model.posterior(x), model.prior_distribution(torch.float64), torch.randn(20, 5, 30, 2))
    np.testing.assert_allclose(nll(terms.log_weights()), 0, atol=1e-5)


@torch.no_grad()
def test_grid_divergence_of_one_gaussian_is_the_closed_form():
    """A narrow Gaussian under the ring: E (r - 0.9)^2 by quadrature over the Gaussian, its entropy exactly."""
    model = toy("ring", K=1)
    model.mean.copy_(torch.tensor([[0.9, 0.0]]))
    model.log_var.copy_(torch.tensor([[math.log(0.0005), math.log(0.002)]]))
    s, t = 0.0005**0.5, 0.002**0.5

    def cross(y, x):
        density = math.exp(-((x - 0.9) ** 2) / (2 * s * s) - y * y / (2 * t * t)) / (2 * math.pi * s * t)
        return density * (math.hypot(x, y) - 0.9) ** 2 / 0.001

    expected, _ = integrate.dblquad(cross, 0.9 - 8 * s, 0.9 + 8 * s, -8 * t, 8 * t, epsabs=1e-7)
    radius = integrate.quad(lambda r: 2 * math.pi * r * math.exp(-((r - 0.9) ** 2) / 0.001), 0.5, 1.3)[0]
    entropy = 1 + math.log(2 * math.pi * s * t)
    result = values(model.extra_metrics(None))
    assert result["kl"] == pytest.approx(expected + math.log(radius) - entropy, abs=1e-5)
    assert result["mass"] == pytest.approx(1, abs=1e-8)


@torch.no_grad()
@pytest.mark.usefixtures("coarse_grid")
@pytest.mark.parametrize("flow", FLOWS[:3], ids=lambda flow: flow["name"])
def test_grid_divergence_agrees_with_monte_carlo(flow):
    model = toy(K=2, flow=flow)
    # flowed components neither too narrow for the coarse grid nor near its edge
    model.mean.mul_(0.5)
    model.log_var.fill_(2 * math.log({"none": 0.4, "iaf": 1.5, "coupling": 0.3}[flow["name"]]))
    n = 20_000
    x = torch.zeros(n, 2)
    terms = model.log_terms(x, model.posterior(x), None, torch.randn(1, 2, n, 2))
    result, sampled = values(model.extra_metrics(None)), -terms.log_weights().mean(1).squeeze()
    assert result["mass"] == pytest.approx(1, abs=1e-3)
    assert result["kl"] == pytest.approx(sampled.mean().item(), abs=5 * sampled.std().item() / n**0.5 + 0.002)
    assert result["kl"] > 0


@torch.no_grad()
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow["name"])
def test_density_is_that_of_the_samples(flow):
    """Pushed forward with its Jacobian and pulled back through the inverse, a point has one density."""
    model = toy(K=3, flow=flow).double()
    draw = model.posterior(torch.zeros(20, 2)).draw(torch.randn(1, 3, 20, 2, dtype=torch.float64))
    np.testing.assert_allclose(model.density(draw.z.flatten(0, 2)), draw.log_mixture.flatten(), atol=1e-6)
    samples = model.draws(2000)
    assert samples.shape == (3, 2000, 2)
    if flow["name"] == "none":
        error = 5 * (0.5 * model.log_var).exp() / 2000**0.5
        assert ((samples.mean(1) - model.mean).abs() < error).all()


def test_the_limits_leave_room_for_the_ring():
    assert LOG_VAR_RANGE[0] < math.log(0.0005) - 1
    model = toy("ring", K=1)
    with torch.no_grad():
        model.log_var.fill_(math.log(0.0005))
    (gradient,) = torch.autograd.grad(
        model.objective(torch.zeros(9, 2), 1.0, torch.randn(1, 1, 9, 2)).value.sum(), model.log_var
    )
    assert (gradient != 0).all()


def fit(dataset, K, steps, flow="none", seed=0):
    model = toy(dataset, K, flow, seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
    x = torch.zeros(64, 2)
    for _ in range(steps):
        optimiser.zero_grad()
        (-model.objective(x, 1.0, torch.randn(1, K, 64, 2)).value.mean()).backward()
        optimiser.step()
    return values(model.extra_metrics(None))["kl"]


@pytest.mark.usefixtures("coarse_grid")
def test_more_components_fit_better():
    one, four = fit("bivariate", 1, 120), fit("bivariate", 4, 250, seed=2)
    # one Gaussian covers the larger mode alone; of four, one takes the smaller, and KL(1/4, 3/4 || 1/5, 4/5) is left
    assert one == pytest.approx(math.log(1 / 0.8), abs=0.03)
    assert four == pytest.approx(0.25 * math.log(0.25 / 0.2) + 0.75 * math.log(0.75 / 0.8), abs=0.01)


def test_two_components_share_the_ring():
    one, two = fit("ring", 1, 400), fit("ring", 2, 400)
    assert 0 < two < one - 0.1


def test_a_flow_is_fitted_by_the_same_objective():
    gaussian, flowed = fit("ring", 1, 30), fit("ring", 1, 30, {"name": "coupling", "steps": 4, "hidden": [8]})
    assert 0 < flowed < gaussian
