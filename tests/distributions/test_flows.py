"""Flows, shared and one per component: Jacobians, inverses, and densities of mixtures behind them."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.integrate import simpson
from torch.distributions import Normal
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform

from mixvae.distributions.flows import ComponentFlows, Identity, InverseAutoregressiveFlow, build
from mixvae.distributions.gaussians import DiagonalMixture, FlowedMixture
from mixvae.distributions.likelihoods import Bernoulli
from mixvae.distributions.posteriors import GaussianMixture
from mixvae.distributions.priors import VampPrior
from mixvae.study.parts import CouplingFlow, NoFlow, SplineFlow
from mixvae.study.parts import InverseAutoregressiveFlow as IAF

K, B, HIDDEN = 3, 4, (16, 16)
FLOWS = ["iaf", "alternating iaf", "coupling", "spline"]
COMPONENT_FLOWS = ["coupling", "spline"]


def flow_of(name, Z=4, K=K, strength=2.0):
    """A flow in float64, far from the identity for a `strength` of 2."""
    torch.manual_seed(0)
    if name == "none":
        return Identity(1, 2)
    if name.endswith("iaf"):
        flow = InverseAutoregressiveFlow(K, Z, 3, HIDDEN, "alternating" if name.startswith("alternating") else "natural")
    else:
        flow = ComponentFlows(K, Z, 3, HIDDEN, {"coupling": None, "spline": 5}[name])
    for parameter in flow.parameters():
        parameter.data.mul_(strength)
    for made in getattr(flow, "mades", []):
        made[-1].bias.data.zero_()  # gates half open, and not as they start
    return flow.double()


def mixture_of(flow=None, K=K, B=B, Z=4):
    torch.manual_seed(1)
    return GaussianMixture(torch.randn(K, B, Z).double(), torch.randn(K, B, Z).double(), flow)


def seen_by(pushed, j):
    """Base variables and log-determinants of component j; those of all when all see the same."""
    return pushed.base[min(j, len(pushed.base) - 1)], pushed.log_det[min(j, len(pushed.base) - 1)]


def test_settings_are_built_as_they_say():
    for settings, kind in ((NoFlow(), Identity), (IAF(name="iaf"), InverseAutoregressiveFlow),
                           (CouplingFlow(name="coupling"), ComponentFlows), (SplineFlow(name="spline"), ComponentFlows)):  # fmt: skip
        assert isinstance(build(settings, 2, 4), kind)
    spline, coupling = build(SplineFlow(name="spline", bins=6, steps=3), 2, 4), build(CouplingFlow(name="coupling"), 2, 4)
    assert (len(spline.conditioners), spline.conditioners[0][-1].bias.shape) == (3, (2, 1, 2 * (6 + 6 + 5)))
    assert (len(coupling.conditioners), coupling.conditioners[0][-1].bias.shape) == (4, (2, 1, 2 * 2))


@pytest.mark.parametrize("name", COMPONENT_FLOWS)
def test_component_flows_are_evaluated_in_float64_where_float32_would_be_off(name):
    """A strongly bent flow: in evaluation mode its densities are those of the same flow in float64."""
    torch.manual_seed(0)
    flow = ComponentFlows(2, 8, 4, (32, 32), {"coupling": None, "spline": 8}[name])
    for parameter in flow.parameters():
        parameter.data.mul_(1.6)
    mean, log_var = torch.randn(2, 2, 30, 8)
    noise = torch.randn(5, 2, 30, 8)
    with torch.no_grad():
        draw, trained = (GaussianMixture(mean, log_var, flow.train(mode)).draw(noise) for mode in (False, True))
        assert (draw.z.dtype, draw.log_mixture.dtype, trained.log_mixture.dtype) == (
            torch.float32,
            torch.float64,
            torch.float32,
        )
        exact_flow = flow_from(flow)
        base, log_det = exact_flow.inverse(draw.z.double().reshape(1, -1, 8).expand(2, -1, -1))
        log_q = torch.stack([
            Normal(mean[j].double(), (0.5 * log_var[j].double()).exp()).log_prob(base[j].view(5, 2, 30, 8)).sum(-1)
            - log_det[j].view(5, 2, 30) for j in range(2)
        ]).logsumexp(0) - math.log(2)  # fmt: skip
    np.testing.assert_allclose(draw.log_mixture, log_q, atol=1e-5)
    assert (trained.log_mixture - log_q).abs().max() > 1e-4  # what float32 makes of it


def flow_from(flow):
    """The same flow, in float64 throughout."""
    return copy.deepcopy(flow).double()


def test_the_natural_order_keeps_conditionals_gaussian_and_alternating_does_not():
    """In natural order z_2 given z_1 is an affine map of its base whatever T is: its second differences vanish."""
    base = torch.stack([torch.full((5,), 0.3), torch.linspace(-2, 2, 5)], dim=-1).double()
    for name, affine in (("iaf", True), ("alternating iaf", False)):
        z = flow_of(name, Z=2).push(base[None, None]).z[0, 0].detach()
        bend = z.diff(dim=0).diff(dim=0).abs().max()
        assert (bend < 1e-12) == affine


@pytest.mark.parametrize("name", FLOWS)
def test_log_determinant_equals_the_autograd_jacobian(name):
    flow = flow_of(name)
    for z in torch.randn(3, 4, dtype=torch.float64):
        jacobians = torch.autograd.functional.jacobian(lambda z: flow.push(z.expand(1, K, 1, 4)).z[0, :, 0], z)
        pushed = flow.push(z.expand(1, K, 1, 4))
        for k in range(K):
            expected = torch.linalg.slogdet(jacobians[k]).logabsdet
            np.testing.assert_allclose(seen_by(pushed, k)[1][0, k, 0].detach(), expected, atol=1e-10)
            assert abs(expected) > 0.01
            # natural order in every step
            assert name != "iaf" or torch.all(jacobians[k].triu(1) == 0)
        if not name.endswith("iaf"):
            assert (jacobians[0] - jacobians[1]).abs().max() > 0.01


@pytest.mark.parametrize("name", FLOWS)
def test_every_component_finds_every_sample_where_its_own_flow_maps_it_from(name):
    flow, z0 = flow_of(name), torch.randn(5, K, B, 4, dtype=torch.float64)
    pushed = flow.push(z0)
    for j in range(K):
        base, log_det = seen_by(pushed, j)
        np.testing.assert_allclose(base[:, j].detach(), z0[:, j], atol=1e-9)
        # push the base variables of j, which stand for samples of all components, through flow j
        again = flow.push(base.reshape(-1, 1, 1, 4).expand(-1, K, 1, 4))
        np.testing.assert_allclose(again.z[:, j].view(pushed.z.shape).detach(), pushed.z.detach(), atol=1e-9)
        np.testing.assert_allclose(seen_by(again, j)[1][:, j].view(log_det.shape).detach(), log_det.detach(), atol=1e-8)


@pytest.mark.parametrize("name", FLOWS)
def test_inverse_undoes_push_and_reports_the_determinant_of_the_flow(name):
    flow, z0 = flow_of(name), torch.randn(50, K, 1, 4, dtype=torch.float64)
    pushed = flow.push(z0)
    base, log_det = flow.inverse(pushed.z[:, :, 0].transpose(0, 1))
    np.testing.assert_allclose(base.transpose(0, 1).detach(), z0[:, :, 0], atol=1e-8)
    for k in range(K):
        np.testing.assert_allclose(log_det[k].detach(), seen_by(pushed, k)[1][:, k, 0].detach(), atol=1e-8)


def test_no_flow_is_the_identity():
    z = torch.randn(2, K, B, 4)
    pushed = Identity(1, 2).push(z)
    assert torch.equal(pushed.z, z)
    assert torch.equal(pushed.base[0], z)
    assert not pushed.log_det.any()
    assert not Identity(1, 2).inverse(z[0])[1].any()


def test_iaf_is_the_gated_update():
    """z <- sigmoid(s) z + (1 - sigmoid(s)) m, written out for both steps."""
    flow = flow_of("iaf")
    z0 = torch.randn(2, K, B, 4, dtype=torch.float64)
    z = z0
    for made in flow.mades:
        s, m = made(z)[..., :4], made(z)[..., 4:]
        z = torch.sigmoid(s) * z + (1 - torch.sigmoid(s)) * m
    np.testing.assert_allclose(flow.push(z0).z.detach(), z.detach(), atol=1e-12)


def zuko_flow(flow, k):
    """Component k of ComponentFlows as separate coupling transforms of zuko with the same weights."""
    if flow.sizes == (1, 1):
        univariate, shapes = MonotonicAffineTransform, [(), ()]
    else:
        univariate, shapes = MonotonicRQSTransform, [(size,) for size in flow.sizes]
    transforms = []
    for start, conditioner in zip(flow.starts, flow.conditioners, strict=True):
        mask = torch.arange(flow.latent) % 2 == start
        lazy = GeneralCouplingTransform(
            flow.latent, mask=mask, univariate=univariate, shapes=shapes, hidden_features=HIDDEN, activation=torch.nn.ReLU
        )
        lazy.double()
        ours = [layer for layer in conditioner if hasattr(layer, "weight")]
        theirs = [layer for layer in lazy.hyper if hasattr(layer, "weight")]
        for a, b in zip(ours, theirs, strict=True):
            b.weight.data.copy_(a.weight[k].T)
            b.bias.data.copy_(a.bias[k, 0])
        transforms.append(lazy())
    return transforms


@pytest.mark.parametrize("name", COMPONENT_FLOWS)
def test_flows_of_all_components_at_once_equal_a_loop_over_separate_ones(name):
    flow, z0 = flow_of(name), torch.randn(6, K, B, 4, dtype=torch.float64)
    pushed = flow.push(z0)
    for k in range(K):
        z, log_det = z0[:, k], 0.0
        for transform in zuko_flow(flow, k):
            z, ladj = transform.call_and_ladj(z)
            log_det = log_det + ladj
        np.testing.assert_allclose(pushed.z[:, k].detach(), z.detach(), atol=1e-10)
        np.testing.assert_allclose(pushed.log_det[k, :, k].detach(), log_det.detach(), atol=1e-8)


def brute_force(q, flow, z):
    """log 1/K sum_j N(f_j^-1(z)) / |det f_j| of z (N, Z) at point 0, one component and flow after the other."""
    parts = []
    for j in range(len(q.mean)):
        base, log_det = z, 0.0
        for transform in reversed(zuko_flow(flow, j)):
            before = transform.inv(base)
            log_det = log_det + transform.log_abs_det_jacobian(before, base)
            base = before
        parts.append(Normal(q.mean[j, 0], q.std[j, 0]).log_prob(base).sum(-1) - log_det)
    return torch.stack(parts).logsumexp(0) - math.log(len(parts))


@pytest.mark.parametrize("name", COMPONENT_FLOWS)
def test_the_mixtures_density_is_the_brute_force_one(name):
    flow = flow_of(name)
    q = mixture_of(flow, B=1)
    draw = q.draw(torch.randn(20, K, 1, 4, dtype=torch.float64))
    expected = torch.stack([brute_force(q, flow, draw.z[:, k, 0]) for k in range(K)], dim=1)
    np.testing.assert_allclose(draw.log_mixture[..., 0].detach(), expected.detach(), atol=1e-8)


def density(q, z):
    """The mixture's density at (N, 2) through the inverse."""
    base, log_det = q.flow.inverse(z.expand(len(q.mean), -1, -1))
    parts = [Normal(q.mean[j, 0], q.std[j, 0]).log_prob(base[j]).sum(-1) - log_det[j] for j in range(len(q.mean))]
    return torch.stack(parts).logsumexp(0) - math.log(len(parts))


@pytest.mark.parametrize("name", FLOWS)
def test_a_mixture_behind_flows_is_a_density_and_the_one_that_its_draws_report(name):
    flow = flow_of(name, Z=2, K=2, strength=1.3)  # what a grid can resolve
    q = GaussianMixture(
        torch.tensor([[[0.5, -1.0]], [[-1.0, 1.0]]]).double(), torch.tensor([[[-0.5, 0.2]], [[0.0, -1.0]]]).double(), flow
    )
    draw = q.draw(torch.randn(500, 2, 1, 2, dtype=torch.float64))
    with torch.no_grad():
        np.testing.assert_allclose(
            draw.log_mixture[:, :, 0].detach(), density(q, draw.z[:, :, 0].flatten(0, 1)).view(500, 2), atol=1e-8
        )
        # a grid around the samples with room on all sides
        low, high = draw.z.amin((0, 1, 2)), draw.z.amax((0, 1, 2))
        axes = [
            torch.linspace(a - (b - a) / 2, b + (b - a) / 2, 301, dtype=torch.float64) for a, b in zip(low, high, strict=True)
        ]
        mass = density(q, torch.cartesian_prod(*axes)).exp().view(301, 301)
    assert simpson(simpson(mass, axes[1]), axes[0]) == pytest.approx(1, abs=2e-3)


def test_a_shared_flow_divides_the_density_by_its_determinant():
    flow = flow_of("iaf")
    noise = torch.randn(2, K, B, 4, dtype=torch.float64)
    flowed, plain = mixture_of(flow).draw(noise), mixture_of().draw(noise)
    log_det = flow.push(plain.z).log_det[0]
    np.testing.assert_allclose(flowed.log_mixture.detach(), (plain.log_mixture - log_det).detach())
    # the jensen-shannon integrand does not feel a shared flow
    np.testing.assert_allclose(
        (flowed.log_component - flowed.log_mixture).detach(), plain.log_component - plain.log_mixture, atol=1e-10
    )


@pytest.mark.parametrize("name", COMPONENT_FLOWS)
def test_identical_flows_in_all_components_are_one_shared_flow(name):
    one, all_ = flow_of(name, K=1), flow_of(name)
    all_.load_state_dict({key: value.expand(K, *value.shape[1:]).clone() for key, value in one.state_dict().items()})
    noise = torch.randn(5, K, B, 4, dtype=torch.float64)
    flowed, plain = mixture_of(all_).draw(noise), mixture_of().draw(noise)
    shared = one.push(plain.z.reshape(-1, 1, 1, 4))
    np.testing.assert_allclose(flowed.z.detach(), shared.z.view(plain.z.shape).detach(), atol=1e-10)
    expected = plain.log_components - shared.log_det.view(5, K, B)
    np.testing.assert_allclose(flowed.log_components.detach(), expected.detach(), atol=1e-8)


def test_the_expectation_under_a_flow_is_that_of_its_samples():
    flow = flow_of("coupling")
    noise = torch.randn(100, K, B, 4, dtype=torch.float64)
    q = mixture_of(flow)
    np.testing.assert_allclose(q.expectation(noise).detach(), q.draw(noise).z.mean((0, 1)).detach())
    np.testing.assert_allclose(mixture_of().expectation(noise), mixture_of().mean.mean(0))


def vamp_of(flow, M=5):
    """A VampPrior, its encoder, and the pseudo-posteriors' base Gaussians."""
    torch.manual_seed(2)
    weight = torch.randn(K, 2, 8, dtype=torch.float64)

    def encoder(u):
        return GaussianMixture(*(u.expand(K, -1, -1) @ weight).chunk(2, dim=-1), flow)

    prior = VampPrior(torch.rand(M, 2, dtype=torch.float64), Bernoulli.constrain, Bernoulli.unconstrain)
    return prior(encoder, torch.float64), encoder(prior.free.clamp(0, 1))


@pytest.mark.parametrize("name", COMPONENT_FLOWS)
def test_a_vampprior_under_component_flows_has_the_flowed_pseudo_posteriors(name):
    flow, z = flow_of(name), torch.randn(3, 2, 4, dtype=torch.float64)
    prior, q = vamp_of(flow)
    assert isinstance(prior, FlowedMixture)
    parts = [
        brute_force(GaussianMixture(q.mean[:, m : m + 1], q.log_var[:, m : m + 1]), flow, z.view(-1, 4))
        for m in range(q.mean.shape[1])
    ]
    expected = torch.stack(parts).logsumexp(0) - math.log(len(parts))
    np.testing.assert_allclose(prior.log_prob(z).flatten().detach(), expected.detach(), atol=1e-8)


@pytest.mark.parametrize("name", ["none", "iaf"])
def test_a_vampprior_under_a_shared_flow_keeps_the_base_gaussians(name):
    prior, q = vamp_of(flow_of(name))
    z = torch.randn(7, 4, dtype=torch.float64)
    parts = [Normal(q.mean[k, m], q.std[k, m]).log_prob(z).sum(-1) for k in range(K) for m in range(q.mean.shape[1])]
    expected = torch.stack(parts).logsumexp(0) - math.log(len(parts))
    np.testing.assert_allclose(prior.log_prob(z).detach(), expected.detach(), atol=1e-9)


def test_a_flowed_vampprior_would_cancel_a_shared_flow_and_ours_does_not():
    base, flow = mixture_of(), flow_of("iaf")
    noise = torch.randn(1, K, B, 4, dtype=torch.float64)
    prior = DiagonalMixture(base.mean.flatten(0, 1), base.log_var.flatten(0, 1), torch.float64)
    plain, flowed = base.draw(noise), mixture_of(flow).draw(noise)
    log_flowed_prior = prior.log_prob(plain.z) - flow.push(plain.z).log_det[0]  # at z_T, pushed through the same flow
    without_flow = prior.log_prob(plain.z) - plain.log_mixture
    np.testing.assert_allclose((log_flowed_prior - flowed.log_mixture).detach(), without_flow, atol=1e-10)
    ours = prior.log_prob(flowed.z) - flowed.log_mixture
    assert (ours - without_flow).abs().max() > 0.1


@pytest.mark.parametrize("name", COMPONENT_FLOWS)
def test_a_vampprior_whose_pseudo_input_is_x_equals_the_posterior_at_x(name):
    flow = flow_of(name)
    prior, q = vamp_of(flow, M=1)
    draw = q.draw(torch.randn(30, K, 1, 4, dtype=torch.float64))
    np.testing.assert_allclose(prior.log_prob(draw.z).detach(), draw.log_mixture.detach(), atol=1e-8)


@pytest.mark.parametrize("name", COMPONENT_FLOWS)
def test_a_flowed_vampprior_samples_what_it_says(name):
    """By its samples, a set's share is what the density integrates to: E[1(z in A)] against importance sampling from q."""
    torch.manual_seed(3)
    prior, q = vamp_of(flow_of(name), M=2)
    n = 4000
    samples = prior.sample((n,)).detach()
    # the pseudo-posteriors drawn one by one, through separate flows
    parts = []
    for k in range(K):
        for m in range(2):
            z = q.mean[k, m] + q.std[k, m] * torch.randn(n, 4, dtype=torch.float64)
            for transform in zuko_flow(q.flow, k):
                z = transform(z)
            parts.append(z)
    expected = torch.cat(parts).detach()
    for statistic in (lambda z: (z > 0).double(), lambda z: z.clamp(-2, 2)):
        difference = statistic(samples).mean(0) - statistic(expected).mean(0)
        assert (difference.abs() < 5 * statistic(expected).std(0) / n**0.5).all()
    # Gibbs' inequality: under its own samples no other distribution is more likely
    other, _ = vamp_of(flow_of("none"), M=2)
    assert prior.log_prob(samples).mean() > other.log_prob(samples).mean()
