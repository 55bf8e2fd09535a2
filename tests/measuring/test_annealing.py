"""Annealed importance sampling against closed forms, quadrature and loops, and the bridge of every system against its parts.

What holds exactly is tested as such: for any number of temperatures and any step sizes, the mean of the weights is p(x), or
1 / p(x) in reverse, to within its standard error. Wrong variants of the method must fail the same check by far.
"""

import copy
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from mixvae.distributions.coordinates import Coordinates
from mixvae.distributions.posteriors import LOG_VAR_RANGE
from mixvae.measuring.annealing import LEAPFROG_STEPS, Annealed, Tuning, forward, noise_per_chain, reverse, schedule, tune
from mixvae.models.bridge import Bridge
from mixvae.models.cpvae import CPVAE
from mixvae.models.gmvae import GMVAE
from mixvae.models.gmvae_shu import ShuGMVAE
from mixvae.models.hvae import HierarchicalVAE
from mixvae.models.mvae import MVAE
from mixvae.models.vae import MixtureVAE
from mixvae.study import parse_run

CLOSE, FAR = 4.5, 12.0
"""How many standard errors an estimate may be off, and how many a wrong one must be off at least."""


def normals(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def streams(points, seed=0):
    """Return a function from C and n to noise (C, B, n), in which every point has a stream of its own."""
    generators = [torch.Generator().manual_seed(1000 * seed + point) for point in points]
    return lambda C, n: torch.stack([torch.randn(C, n, dtype=torch.float64, generator=one) for one in generators], dim=1)


def annealed(bridge, B, noise_size, T, chains, exact=None, seed=0) -> Annealed:
    """Tune, and anneal forward, or in reverse where the exact samples (B, U) of the points are given."""
    stream = torch.Generator().manual_seed(seed)

    def noise(C, n):
        return torch.randn(C, B, n, dtype=torch.float64, generator=stream)

    tuning = tune(bridge, T, noise, noise_size)
    numbers = noise(chains, noise_per_chain(T, noise_size, tuning.scale.shape[1]))
    if exact is None:
        return forward(bridge, tuning, numbers, noise_size)
    return reverse(bridge, tuning, exact, numbers, noise_size)


def constant_steps(T, B, U, step=0.7):
    return Tuning(torch.ones(B, U, dtype=torch.float64), torch.full((T - 1, B), step, dtype=torch.float64))


def log_mean(log_weights):
    """Return the logarithms of the means over chains (C, B), and their standard errors, (B,) each."""
    top = log_weights.max(0).values
    weights = (log_weights - top).exp()
    return (weights.mean(0).log() + top).numpy(), (weights.std(0) / weights.mean(0) / len(weights) ** 0.5).numpy()


def z_scores(values, expected):
    """Return by how many standard errors the means of independent values (N, ...) are off."""
    values = torch.as_tensor(values)
    return ((values.mean(0) - torch.as_tensor(expected)) / (values.std(0) / len(values) ** 0.5)).numpy()


def assert_close(values, expected):
    np.testing.assert_array_less(np.abs(z_scores(values, expected)), CLOSE)


def mixture_start(mean, std):
    """Return a function from noise to samples of equally weighted Gaussians (K, B, Z); the last number picks one by quantiles."""
    edges = torch.from_numpy(stats.norm.ppf(np.arange(1, len(mean)) / len(mean)))

    def start(noise):
        chosen, points = (noise[..., -1, None] > edges).sum(-1), torch.arange(mean.shape[1])
        return mean[chosen, points] + std[chosen, points] * noise[..., :-1]

    return start


def mixture_log_prob(mean, std):
    """Return the log-density of that mixture."""
    components = Independent(Normal(mean.transpose(0, 1), std.transpose(0, 1)), 1)
    return MixtureSameFamily(Categorical(torch.ones(mean.shape[:2]).T), components).log_prob


# linear-Gaussian models, whose posterior and likelihood have closed forms


class LinearGaussian:
    """p(z) = N(0, I), p(x|z) = N(W z, s^2 I), and K Gaussians as posterior that are wrong in place and in width."""

    Z, D, s = 2, 3, 0.5

    def __init__(self, K):
        self.W = normals(self.D, self.Z, seed=3)
        self.covariance = self.W @ self.W.T + self.s**2 * torch.eye(self.D, dtype=torch.float64)
        self.posterior_covariance = torch.linalg.inv(torch.eye(self.Z) + self.W.T @ self.W / self.s**2)
        self.shift, self.factor = 0.35 * normals(K, 1, self.Z, seed=4), torch.linspace(1.1, 1.2, K)[:, None, None]

    def log_p(self, x):
        return torch.from_numpy(stats.multivariate_normal(np.zeros(self.D), self.covariance.numpy()).logpdf(x.numpy()))

    def true_mean(self, x):
        return x @ self.W @ self.posterior_covariance / self.s**2

    def simulate(self, n):
        z = normals(n, self.Z, seed=5)
        return z @ self.W.T + self.s * normals(n, self.D, seed=6), z

    def bridge(self, x):
        mean = self.true_mean(x) + self.shift
        std = (self.factor * self.posterior_covariance.diagonal().sqrt()).expand(mean.shape)

        def log_joint(z):
            return Normal(z @ self.W.T, self.s).log_prob(x).sum(-1) + Normal(0, 1).log_prob(z).sum(-1)

        return Bridge(mixture_start(mean, std), mixture_log_prob(mean, std), log_joint)


@pytest.mark.parametrize("K", [1, 3])
def test_a_linear_gaussian_model_has_its_exact_likelihood_in_both_directions(K):
    model = LinearGaussian(K)
    x, _ = model.simulate(4)
    exact = model.log_p(x).numpy()
    found = annealed(model.bridge(x), 4, model.Z, 20, 1500)
    estimate, error = log_mean(found.log_weights)
    assert error.max() < 0.03
    np.testing.assert_array_less(np.abs(estimate - exact), CLOSE * error)
    np.testing.assert_allclose(found.acceptance.mean(0), 0.8, atol=0.12)  # what the pilots aim at
    # in reverse, all chains of a point share its exact sample, so independent chains are copies of the point
    copies = x.repeat(500, 1)
    z = model.true_mean(copies) + normals(len(copies), model.Z, seed=7) @ torch.linalg.cholesky(model.posterior_covariance).T
    estimate, error = log_mean(annealed(model.bridge(copies), len(copies), model.Z, 20, 1, z).log_weights.view(500, 4))
    assert error.max() < 0.06
    np.testing.assert_array_less(np.abs(-estimate - exact), CLOSE * error)


@pytest.mark.parametrize("K", [1, 3])
def test_the_two_directions_bracket_the_likelihood_of_simulated_points_ever_closer(K):
    model, n = LinearGaussian(K), 1000
    x, z = model.simulate(n)
    bridge, exact = model.bridge(x), model.log_p(x)
    gaps = []
    for T in (3, 20):
        up, down = (annealed(bridge, n, model.Z, T, 3, start, seed=T).log_weights for start in (None, z))
        below, above = log_mean(up)[0] - exact.numpy(), -log_mean(down)[0] - exact.numpy()
        assert below.mean() < 0 < above.mean()
        if not gaps:
            assert z_scores(below, 0) < -3
            assert z_scores(above, 0) > 3
        gaps.append((above - below).mean())
        # these are bounds because the weights themselves have no bias
        assert_close((up - exact).exp().mean(0), 1)
        assert_close((down + exact).exp().mean(0), 1)
    assert gaps[1] < gaps[0] / 2


# one and two latent variables behind a nonlinear likelihood


class Bent(NamedTuple):
    """A joint density log p(x, z) with z in R^2 or R, and the one Gaussian, far off, that annealing starts from."""

    log_joint: Callable[[Tensor], Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def bridge(self):
        mean, std = (torch.tensor([[part]], dtype=torch.float64) for part in (self.mean, self.std))
        return Bridge(mixture_start(mean, std), mixture_log_prob(mean, std), self.log_joint)

    def quadrature(self):
        """Return p(x) by Simpson's rule."""
        axis = torch.linspace(-7, 7, 1201, dtype=torch.float64)
        values = self.log_joint(torch.cartesian_prod(*[axis] * len(self.mean)).view(-1, len(self.mean))).exp()
        values = values.view([len(axis)] * len(self.mean)).numpy()
        for _ in self.mean:
            values = integrate.simpson(values, axis.numpy())
        return values.item()


def two_modes(z):
    """p(z) = N(0, 1), p(x|z) = N(z^2 / 2, 0.3^2) at x = 1."""
    return Normal(0, 1).log_prob(z).sum(-1) + Normal(z[..., 0].square() / 2, 0.3).log_prob(torch.ones_like(z[..., 0]))


def crescent(z):
    """p(z) = N(0, I), p(x|z) = N((z_1 + z_2^2, z_1 z_2), 0.5^2 I) at x = (1.5, 0.5)."""
    means = torch.stack((z[..., 0] + z[..., 1].square(), z[..., 0] * z[..., 1]), dim=-1)
    return Normal(0, 1).log_prob(z).sum(-1) + Normal(means, 0.5).log_prob(torch.tensor([1.5, 0.5])).sum(-1)


TWO_MODES, CRESCENT = Bent(two_modes, (0.3,), (0.9,)), Bent(crescent, (0.3, 0.3), (0.6, 0.6))


@pytest.mark.parametrize("target", [TWO_MODES, CRESCENT])
def test_a_nonlinear_likelihood_agrees_with_quadrature(target):
    estimate, error = log_mean(annealed(target.bridge, 1, len(target.mean), 30, 4000).log_weights)
    assert error < 0.015
    assert abs(estimate - math.log(target.quadrature())) < CLOSE * error


def naive(log_joint, mean, std, T, chains, rng):
    """Return log w of Neal (2001), chain by chain and number by number, with Metropolis's random walk instead of HMC."""
    squashed = [1 / (1 + math.exp(-4 * (2 * t / T - 1))) for t in range(T + 1)]
    b = [(s - squashed[0]) / (squashed[-1] - squashed[0]) for s in squashed]

    def log_base(z):
        each = zip(z, mean, std, strict=True)
        return sum(-0.5 * ((a - m) / s) ** 2 - math.log(s * math.sqrt(2 * math.pi)) for a, m, s in each)

    def log_f(z, t):
        return (1 - b[t]) * log_base(z) + b[t] * log_joint(z)

    log_weights = []
    for _ in range(chains):
        z, log_w = rng.normal(mean, std), 0.0
        for t in range(1, T + 1):
            log_w += log_f(z, t) - log_f(z, t - 1)
            for _ in range(3):
                proposal = z + 0.5 * rng.normal(size=len(z))
                if rng.random() < math.exp(min(0, log_f(proposal, t) - log_f(z, t))):
                    z = proposal
        log_weights.append(log_w)
    return np.array(log_weights)


def plain_crescent(z):
    squares = z[0] ** 2 + z[1] ** 2 + ((1.5 - z[0] - z[1] ** 2) ** 2 + (0.5 - z[0] * z[1]) ** 2) / 0.25
    return -0.5 * squares - 2 * math.log(2 * math.pi) - 2 * math.log(0.5)


def test_a_loop_over_chains_with_another_kernel_finds_the_same():
    T, rng = 20, np.random.default_rng(0)
    looped = torch.from_numpy(naive(plain_crescent, CRESCENT.mean, CRESCENT.std, T, 600, rng))[:, None]
    ours = annealed(CRESCENT.bridge, 1, 2, T, 4000).log_weights
    (loop, loop_error), (estimate, error) = log_mean(looped), log_mean(ours)
    assert loop_error < 0.06
    assert abs(estimate - loop) < CLOSE * math.hypot(error.item(), loop_error.item())
    assert abs(loop - math.log(CRESCENT.quadrature())) < CLOSE * loop_error


# no bias, however few and coarse the moves are


def own_annealing(bridge, u, temperatures, steps, noise, rule="metropolis", gain=0.0, leapfrogs=5):
    """Return log weights (C,) of chains of one point by an own HMC without scales, which can be wrong.

    Arguments:
        u: (C, 1, U), where the chains start.
        noise: (C, 1, (T - 1) (U + 1)) normal numbers.
        rule: "metropolis", "always" accept, or "without momentum" in the energies.
        gain: Where it is not 0, every chain changes its step sizes by its own acceptance, as the pilots do.
    """
    U, log_w, own = u.shape[-1], 0.0, torch.ones(len(u), 1, 1, dtype=torch.float64)

    def density(u, b):
        u = u.detach().requires_grad_()
        log_f = (1 - b) * bridge.log_base(u) + b * bridge.log_joint(u)
        return log_f.detach(), torch.autograd.grad(log_f.sum(), u)[0]

    for t, b in enumerate(temperatures[1:]):
        log_w = log_w + (b - temperatures[t]) * (bridge.log_joint(u) - bridge.log_base(u))
        if t == len(steps):
            break
        numbers, step = noise[..., t * (U + 1) : (t + 1) * (U + 1)], steps[t] * own
        new, momentum = u, numbers[..., :U]
        start, force = density(new, b)
        for _ in range(leapfrogs):
            momentum = momentum + step / 2 * force
            new = new + step * momentum
            end, force = density(new, b)
            momentum = momentum + step / 2 * force
        gained = end - start
        if rule != "without momentum":
            gained = gained - (momentum.square() - numbers[..., :U].square()).sum(-1) / 2
        probability = gained.exp().clamp(max=1).nan_to_num(0)
        chosen = torch.from_numpy(special.ndtr(numbers[..., U].numpy())) < probability
        u = torch.where((end.isfinite() if rule == "always" else chosen)[..., None], new, u)
        own = own * (gain * (probability - 0.8)).exp()[..., None]
    return log_w[:, 0]


COARSE_T = 5
COARSE_STEPS = {TWO_MODES: 0.7, CRESCENT: 0.5}


def coarse(target, chains):
    """Return noise for chains of a target, and p(x)."""
    U = len(target.mean)
    return normals(chains, 1, noise_per_chain(COARSE_T, U, U), seed=11), target.quadrature()


@pytest.mark.parametrize(("target", "chains"), [(TWO_MODES, 500_000), (CRESCENT, 200_000)])
def test_the_mean_weight_is_the_likelihood_with_few_and_coarse_moves(target, chains):
    U, step = len(target.mean), COARSE_STEPS[target]
    noise, exact = coarse(target, chains)
    found = forward(target.bridge, constant_steps(COARSE_T, 1, U, step), noise, U)
    ratios = found.log_weights[:, 0].exp() / exact
    assert ratios.std() / chains**0.5 < 0.005
    assert 0.2 < found.acceptance.mean() < 0.75
    assert_close(ratios, 1)


@pytest.mark.parametrize("target", [TWO_MODES, CRESCENT])
def test_chain_by_chain_the_weights_are_those_of_a_kernel_that_is_written_anew(target):
    """In reverse, the steps come in the reverse order, too."""
    U, C, steps = len(target.mean), 500, [0.2, 0.8, 0.5, 0.4]
    noise = normals(C, 1, noise_per_chain(COARSE_T, U, U), seed=12)
    tuning = Tuning(torch.ones(1, U, dtype=torch.float64), torch.tensor(steps, dtype=torch.float64)[:, None])
    exact = normals(1, U)
    starts = target.bridge.start(noise[..., : U + 1]), exact.expand(C, 1, U)
    directions = forward(target.bridge, tuning, noise, U), reverse(target.bridge, tuning, exact, noise, U)
    for start, found, way in zip(starts, directions, (1, -1), strict=True):
        temperatures, moves = schedule(COARSE_T)[::way], noise[..., U + 1 :]
        expected = own_annealing(target.bridge, start, temperatures, steps[::way], moves, leapfrogs=LEAPFROG_STEPS)
        np.testing.assert_allclose(found.log_weights[:, 0], expected, atol=1e-8)


@pytest.mark.parametrize(
    ("wrong", "chains"), [({"rule": "always"}, 100_000), ({"rule": "without momentum"}, 100_000), ({"gain": 1.0}, 800_000)]
)
def test_moves_that_do_not_keep_the_density_fail_that_check(wrong, chains):
    """The last one adapts every chain's step size to the chain's own history, by the pilots' rule."""
    noise, exact = coarse(TWO_MODES, chains)
    start, steps = TWO_MODES.bridge.start(noise[..., :2]), [COARSE_STEPS[TWO_MODES]] * (COARSE_T - 1)
    ratios = own_annealing(TWO_MODES.bridge, start, schedule(COARSE_T), steps, noise[..., 2:], **wrong).exp() / exact
    assert abs(z_scores(ratios, 1)) > FAR


# what else is promised


@pytest.mark.parametrize("T", [1, 2, 7, 50])
def test_the_temperatures_rise_from_0_to_1_symmetrically(T):
    b = np.array(schedule(T))
    assert (len(b), b[0], b[-1]) == (T + 1, 0, 1)
    assert (np.diff(b) > 0).all()
    np.testing.assert_allclose(b + b[::-1], 1, atol=1e-12)
    assert T < 3 or np.diff(b)[0] < np.diff(b)[T // 2]


def test_without_moves_the_weights_are_those_of_importance_sampling():
    model = LinearGaussian(3)
    x, z = model.simulate(4)
    bridge, noise = model.bridge(x), normals(6, 4, model.Z + 1)
    tuning = tune(bridge, 1, streams(range(4)), model.Z)
    assert (tuning.scale.shape, tuning.steps.shape) == ((4, model.Z), (0, 4))
    assert noise.shape[-1] == noise_per_chain(1, model.Z, model.Z)
    u = bridge.start(noise)
    found = forward(bridge, tuning, noise, model.Z)
    np.testing.assert_allclose(found.log_weights, bridge.log_joint(u) - bridge.log_base(u), atol=1e-12)
    assert not found.acceptance.any()
    found = reverse(bridge, tuning, z, noise, model.Z)
    np.testing.assert_allclose(found.log_weights, (bridge.log_base(z) - bridge.log_joint(z)).expand(6, 4), atol=1e-12)


# the bridges of the systems, with two binary pixels, so that p(x) can be summed over all x


class System(NamedTuple):
    """A tiny model with its prior in float64, all points x (X, D), their exact p(x), and U."""

    model: nn.Module
    prior: object
    x: Tensor
    p: Tensor
    U: int

    @property
    def bridge(self):
        return self.model.bridge(self.x, self.prior, self.x)


def gaussian_nodes(Z, n=101):
    """Return nodes (N, Z) and weights (N,) of the trapezoidal rule for N(0, I)."""
    nodes = torch.cartesian_prod(*[torch.linspace(-8, 8, n, dtype=torch.float64)] * Z).view(-1, Z)
    return nodes, Normal(0, 1).log_prob(nodes).sum(-1).softmax(0)


def scaled(mean, log_var, nodes):
    return mean + (0.5 * log_var.clamp(*LOG_VAR_RANGE)).exp() * nodes


def likelihoods(model, x, *codes):
    """Return p(x|z) of x (X, D) at codes (..., Z), (..., X), from the decoder's logits."""
    logits = model.decoder([code[..., None, :].expand(*code.shape[:-1], len(x), -1) for code in codes], x)
    return (logits * (2 * x - 1)).sigmoid().prod(-1)


def of_vae(model, x):
    nodes, weights = gaussian_nodes(model.noise_size, 801 if model.noise_size == 1 else 101)
    if hasattr(model.prior, "zeros"):
        z = nodes[None]
    elif hasattr(model.prior, "mean"):
        z = scaled(model.prior.mean[:, None], model.prior.log_var[:, None], nodes)
    else:
        # every pseudo-input's posterior, through its component's flow
        q = model.encode(model.prior.constrain(model.prior.free))
        base = scaled(q.mean[:, :, None], q.log_var[:, :, None], nodes)
        z = model.flow.push(base.flatten(1, 2)[None]).z[0].view(base.shape).flatten(0, 1)
    return torch.einsum("n,mnx->x", weights, likelihoods(model, x, z)) / len(z)


def of_hvae(model, x):
    top, top_weights = gaussian_nodes(model.latent_top)
    nodes, weights = gaussian_nodes(model.latent, 61)
    mean, log_var = model.conditional(top).chunk(2, dim=-1)
    z1 = scaled(mean[:, None], log_var[:, None], nodes)
    z2 = top[:, None].expand(*z1.shape[:-1], -1)
    return torch.einsum("m,n,mnx->x", top_weights, weights, likelihoods(model, x, z1, z2))


def of_gmvae(model, x):
    w, w_weights = gaussian_nodes(model.latent_w)
    nodes, weights = gaussian_nodes(model.latent)
    p = 0
    for c in range(model.C):
        mean, log_var = (part[:, c, None] for part in model.components(w))
        p = p + torch.einsum("m,n,mnx->x", w_weights, weights, likelihoods(model, x, scaled(mean, log_var, nodes)))
    return p / model.C


def of_shu(model, x):
    nodes, weights = gaussian_nodes(model.latent)
    gaussians = zip(model.prior.mean, model.prior.log_var, strict=True)
    return sum(weights @ likelihoods(model, x, scaled(*gaussian, nodes)) for gaussian in gaussians) / model.C


def of_cpvae(model, x):
    nodes, weights = gaussian_nodes(model.latent)
    p = 0
    for c, gaussian in enumerate(zip(model.prior.mean, model.prior.log_var, strict=True)):
        category = torch.zeros(len(nodes), model.C, dtype=torch.float64)
        category[:, c] = 1
        p = p + weights @ likelihoods(model, x, torch.cat((scaled(*gaussian, nodes), category), dim=-1))
    return p / model.C


TINY = {
    "dataset": "digits",
    "likelihood": "bernoulli",
    "latent": 2,
    "K": 3,
    "encoder": {"hidden": [6]},
    "decoder": {"hidden": [6]},
}
IAF = {"name": "iaf", "hidden": [6], "order": "alternating"}
COUPLING = {"name": "coupling", "steps": 2, "hidden": [6]}
SPLINE = {"name": "spline", "steps": 2, "hidden": [6], "bins": 4}
MOG, VAMP = {"name": "mog", "components": 3}, {"name": "vamp", "components": 4}
PIXELCNN = {"name": "pixelcnn", "layers": 2, "channels": 3}
HVAE = {"model": "hvae", "latent": 1, "latent_top": 1, "lower": {"hidden": [6]}, "joint": 6, "conditional": {"hidden": [6]}}
SYSTEMS = {
    "vae-mog": (MixtureVAE, of_vae, {"prior": MOG}),
    "vae-iaf": (MixtureVAE, of_vae, {"flow": IAF}),
    "vae-coupling": (MixtureVAE, of_vae, {"flow": COUPLING}),
    "vae-coupling-K1": (MixtureVAE, of_vae, {"flow": COUPLING, "K": 1}),  # a flow of its own that all share
    "vae-spline": (MixtureVAE, of_vae, {"flow": SPLINE}),
    "vae-vamp-coupling": (MixtureVAE, of_vae, {"flow": COUPLING, "prior": VAMP}),
    "vae-pixelcnn": (MixtureVAE, of_vae, {"latent": 1, "decoder": PIXELCNN}),
    "hvae": (HierarchicalVAE, of_hvae, HVAE),
    "hvae-iaf": (HierarchicalVAE, of_hvae, {**HVAE, "latent": 2, "flow": IAF}),
    "hvae-coupling": (HierarchicalVAE, of_hvae, {**HVAE, "latent": 2, "flow": COUPLING}),
    "gmvae": (GMVAE, of_gmvae, {"model": "gmvae", "latent": 1, "latent_w": 1, "mixture": {"hidden": [6]}}),
    "gmvae_shu": (ShuGMVAE, of_shu, {"model": "gmvae_shu"}),
    "cpvae": (CPVAE, of_cpvae, {"model": "cpvae"}),
}
FACTORS = {"decoder": 3.0, "decoders": 2.0, "flow": 1.0, "prior": 0.7}
"""Initial weights times these, others times 1.3, are far from 0, and yet no weight has a tail that chains would miss."""


def build(kind, settings, shape):
    torch.manual_seed(1)
    inputs = normals(60, math.prod(shape), seed=2).sigmoid().float()
    model = kind(parse_run({"model": "vae", **TINY, **settings}), inputs, shape).double().eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        parameter.mul_(FACTORS.get(name.split(".")[0], 1.3))
    if isinstance(model, CPVAE | ShuGMVAE):
        model.prior.mean.mul_(15)  # categories start side by side
    for made in getattr(getattr(model, "flow", None), "mades", []):
        # as they start, the gates leave nearly all open; the flow then contracts, so that the base must be wider
        made[-1].bias.mul_(0.75)
        made[-1].weight.mul_(2)
        made[0].weight.mul_(2)
        (model.lower.heads if isinstance(model, HierarchicalVAE) else model.encoder)[-1].bias.chunk(2, -1)[1].add_(0.7)
    return model


@functools.cache
def system(name):
    kind, exact, settings = SYSTEMS[name]
    shape = (1, 2, 2) if "pixelcnn" in name else (2,)
    x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * math.prod(shape))
    model = build(kind, settings, shape)
    prior = model.prior_distribution(torch.float64)
    return System(model, prior, x, exact(model, x), model.simulate(x, prior)[1].shape[1])


class Grid(NamedTuple):
    """Points u (N, U) of a grid, and p(x, u) and r(u | x) times a cell's volume there, (N, X) each."""

    u: Tensor
    joint: Tensor
    base: Tensor


@functools.cache
def grid(name):
    """Return a grid over all that is likely under the posterior or the model; beyond it both densities vanish."""
    one, X = system(name), len(system(name).x)
    torch.manual_seed(3)
    _, simulated = one.model.simulate(one.x.repeat(1000, 1), one.prior)
    drawn = one.bridge.start(normals(1000, X, one.model.noise_size + 1)).flatten(0, 1)
    both = torch.cat((simulated, drawn))
    low, high = both.amin(0), both.amax(0)
    n, room = {1: 2001, 2: 181, 3: 49}[one.U], 0.3 * (high - low)
    axes = [torch.linspace(a, b, n, dtype=torch.float64) for a, b in zip(low - room, high + room, strict=True)]
    u = torch.cartesian_prod(*axes).view(-1, one.U)
    at = u[:, None].expand(-1, X, -1)
    volume = math.prod((axis[1] - axis[0]).item() for axis in axes)
    return Grid(u, one.bridge.log_joint(at).exp() * volume, one.bridge.log_base(at).exp() * volume)


def statistics(u):
    """Return smooth bounded functions of u (..., U) by which distributions are told apart, (..., S)."""
    product = (u[..., 0] * u[..., -1])[..., None].tanh()
    return torch.cat((torch.ones_like(product), product, u.tanh(), (2 * u).cos()), dim=-1)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_joint_density_integrates_to_the_likelihood_and_a_posterior_to_one(name):
    one, on = system(name), grid(name)
    np.testing.assert_allclose(on.joint.sum(0), one.p, rtol=2e-3)
    np.testing.assert_allclose(on.joint.sum(), 1, atol=1e-3)  # a sum over all x
    np.testing.assert_allclose(on.base.sum(0), 1, atol=2e-3)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_start_is_a_draw_of_the_base_density(name):
    one, on = system(name), grid(name)
    u = one.bridge.start(normals(10_000, len(one.x), one.model.noise_size + 1, seed=4))
    assert_close(statistics(u)[..., 1:], torch.einsum("nx,ns->xs", on.base, statistics(on.u))[:, 1:])


@pytest.mark.parametrize("name", SYSTEMS)
def test_simulated_points_and_coordinates_have_the_joint_density(name):
    one, on = system(name), grid(name)
    torch.manual_seed(5)
    x, u = one.model.simulate(torch.zeros(40_000, one.x.shape[1], dtype=torch.float64), one.prior)
    which = (x[:, None] == one.x).all(-1).double()
    assert which.sum(1).eq(1).all()
    found = which[:, :, None] * statistics(u)[:, None]
    assert_close(found.flatten(1), torch.einsum("nx,ns->xs", on.joint, statistics(on.u)).flatten())


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_has_its_exact_likelihood_by_annealing_from_its_posterior(name):
    one, X, T = system(name), len(system(name).x), 8
    noise = normals(3000 // X, X, noise_per_chain(T, one.model.noise_size, one.U), seed=17)
    found = forward(one.bridge, constant_steps(T, X, one.U), noise, one.model.noise_size)
    estimate, error = log_mean(found.log_weights)
    assert error.max() < 0.15
    np.testing.assert_array_less(np.abs(estimate - one.p.log().numpy()), CLOSE * error)


@pytest.mark.parametrize("name", SYSTEMS)
def test_both_directions_are_without_bias_on_points_that_a_system_simulates(name):
    one, n, T = system(name), 1200, 6
    torch.manual_seed(6)
    x, u = one.model.simulate(torch.zeros(n, one.x.shape[1], dtype=torch.float64), one.prior)
    p = one.p[(x[:, None] == one.x).all(-1).double().argmax(1)]
    bridge, noise_size, steps = one.model.bridge(x, one.prior, x), one.model.noise_size, constant_steps(T, n, one.U)
    noise = normals(1, n, noise_per_chain(T, noise_size, one.U), seed=8)
    up = forward(bridge, steps, noise, noise_size).log_weights[0].exp() / p
    down = reverse(bridge, steps, u, noise, noise_size).log_weights[0].exp() * p
    assert_close(up, 1)
    assert_close(down, 1)


@pytest.mark.parametrize(("name", "method"), [("vae-iaf", "codes"), ("vae-coupling", "base")])
def test_a_flow_without_its_jacobian_fails_that_check(name, method, monkeypatch):
    """Forgotten either in p(x, u), where u is z_0, or in r(u | x), where u is z."""
    one, X, T = system(name), len(system(name).x), 3
    noise = normals(2500, X, noise_per_chain(T, one.model.noise_size, one.U), seed=9)

    def ratios():
        return forward(one.bridge, constant_steps(T, X, one.U), noise, one.model.noise_size).log_weights.exp() / one.p

    assert_close(ratios(), 1)
    right = getattr(Coordinates, method)
    monkeypatch.setattr(Coordinates, method, lambda self, u: (right(self, u)[0], 0.0))
    assert np.abs(z_scores(ratios(), 1)).max() > FAR


# M-VAE, whose data are real numbers, and whose weights have coordinates of their own


MVAE_A0, MVAE_STD = 1.5, 0.8


@functools.cache
def mvae(K):
    settings = {"model": "mvae", "K": K, "latent": 1, "a0": MVAE_A0, "likelihood": {"name": "gaussian", "std": MVAE_STD}}
    model = build(MVAE, settings, (2,))
    if K > 1:
        model.encoder[-1].bias[..., -1] += 0.7  # a posterior of w as wide as its prior
    return model, model.prior_distribution(torch.float64)


def of_mvae(model, x):
    """Return p(x) of (N, 2) for K = 2: the weight by Gauss-Jacobi quadrature."""
    z, z_weights = gaussian_nodes(1, 41)
    node, w_weights = special.roots_jacobi(24, MVAE_A0 - 1, MVAE_A0 - 1)
    w, w_weights = torch.from_numpy((1 + node) / 2)[:, None, None, None], torch.from_numpy(w_weights / w_weights.sum())
    one, other = model.component_means(z.expand(2, -1, -1))
    means = w * one[:, None] + (1 - w) * other
    log_p = (Normal(means, MVAE_STD).log_prob(some[:, None, None, None]).sum(-1) for some in x.split(50))
    parts = [torch.einsum("w,a,b,xwab->x", w_weights, z_weights, z_weights, some.exp()) for some in log_p]
    return torch.cat(parts)


def test_an_mvae_integrates_to_its_likelihood_over_codes_and_logistic_coordinates():
    model, prior = mvae(2)
    x = torch.tensor([[0.3, -0.2], [1.0, 0.5]], dtype=torch.float64)
    bridge = model.bridge(x, prior, x)
    codes, y = torch.linspace(-7, 7, 57, dtype=torch.float64), torch.linspace(-40, 40, 201, dtype=torch.float64)
    u = torch.cartesian_prod(codes, codes, y)
    at, volume = u[:, None].expand(-1, 2, -1), (codes[1] - codes[0]) ** 2 * (y[1] - y[0])
    joint, base = (log(at).exp() * volume for log in (bridge.log_joint, bridge.log_base))
    np.testing.assert_allclose(joint.sum(0), of_mvae(model, x), rtol=1e-4)
    np.testing.assert_allclose(base.sum(0), 1, rtol=1e-4)
    start = bridge.start(normals(20_000, 2, model.noise_size + 1, seed=4))
    assert_close(statistics(start)[..., 1:], torch.einsum("nx,ns->xs", base, statistics(u))[:, 1:])


def test_an_mvae_simulates_its_prior_and_its_likelihood():
    model, prior = mvae(2)
    torch.manual_seed(5)
    x, u = model.simulate(torch.zeros(40_000, 2, dtype=torch.float64), prior)
    codes, y = u.split((2, 1), dim=-1)
    w = y.sigmoid()
    one, other = model.decoders(codes.T[..., None])
    noise = (x - w * one - (1 - w) * other) / MVAE_STD
    for standard in (codes, noise):
        assert stats.kstest(standard.flatten().numpy(), "norm").pvalue > 1e-4
    assert stats.kstest(w[:, 0].numpy(), stats.beta(MVAE_A0, MVAE_A0).cdf).pvalue > 1e-4
    every = torch.cat((codes, noise, y), dim=-1)
    rows, columns = torch.triu_indices(5, 5, 1)
    assert_close(every[:, rows] * every[:, columns], 0)  # no two are correlated


def test_an_mvae_is_without_bias_in_both_directions():
    model, prior = mvae(2)
    n, T = 600, 8
    torch.manual_seed(6)
    x, u = model.simulate(torch.zeros(n, 2, dtype=torch.float64), prior)
    p, bridge, steps, size = of_mvae(model, x), model.bridge(x, prior, x), constant_steps(T, n, 3), model.noise_size
    noise = normals(4, n, noise_per_chain(T, size, 3), seed=8)
    up, down = forward(bridge, steps, noise, size).log_weights, reverse(bridge, steps, u, noise, size).log_weights
    assert_close((up.exp() / p).mean(0), 1)
    assert_close((down.exp() * p).mean(0), 1)


@pytest.mark.parametrize("K", [1, 3])
def test_an_mvae_of_one_or_three_components_has_the_likelihood_that_its_prior_draws_give(K):
    model, prior = mvae(K)
    x, rng, n = torch.tensor([[0.3, -0.2], [0.6, 0.1]], dtype=torch.float64), np.random.default_rng(0), 400_000
    z, w = torch.from_numpy(rng.normal(size=(K, n, 1))), torch.from_numpy(rng.dirichlet([MVAE_A0] * K, n).T[..., None])
    means = (w * model.component_means(z)).sum(0)
    plain = Normal(means[:, None], MVAE_STD).log_prob(x).sum(-1)
    found = annealed(model.bridge(x, prior, x), 2, model.noise_size, 12, 2000)
    (expected, small), (estimate, error) = log_mean(plain), log_mean(found.log_weights)
    assert error.max() < 0.05
    np.testing.assert_array_less(np.abs(estimate - expected), CLOSE * np.hypot(small, error))


# counts, which are conditional on a library


GENES, LIBRARIES = 20, (40.0, 60.0)


@functools.cache
def counts(likelihood):
    """Return a model whose code says how many counts are lost, if any are, and its prior."""
    settings = {"dataset": "pbmc68k_reduced", "likelihood": likelihood, "latent": 1, "K": 2, "decoder": {"hidden": []}}
    model = build(MixtureVAE, settings, (GENES,))
    (layer,) = [module for module in model.decoder.modules() if isinstance(module, nn.Linear)]
    layer.weight[:GENES], layer.bias[:GENES] = 0.2 * normals(GENES, 1), normals(GENES, seed=1) / 2
    layer.weight[GENES:], layer.bias[GENES:] = 2, 0
    (model.likelihood.counts if likelihood == "zinb" else model.likelihood).log_theta.fill_(2)
    return model, model.prior_distribution(torch.float64)


def log_p_counts(model, x, z, library):
    """Return log p(x | z, library), (N,), of x (N, D), z (N, 1) and library (N,) by scipy."""
    h, x = model.decoder((z,), None).numpy(), x.numpy()
    inflated = h.shape[1] == 2 * GENES
    theta = (model.likelihood.counts if inflated else model.likelihood).log_theta.exp().numpy()
    mean = library[:, None].numpy() * special.softmax(h[:, :GENES], axis=1)
    log_p = stats.nbinom.logpmf(x, theta, theta / (theta + mean))
    if inflated:
        lost, kept = special.log_expit(h[:, GENES:]), special.log_expit(-h[:, GENES:]) + log_p
        log_p = np.where(x == 0, np.logaddexp(lost, kept), kept)
    return torch.from_numpy(log_p.sum(1))


def joint_on_nodes(model, x, library):
    """Return nodes z (N,), and log p(x, z | library) of x (B, D) times the node's weight, (B, N)."""
    z, weights = gaussian_nodes(1)
    N = len(z)
    log_p = log_p_counts(model, x.repeat_interleave(N, 0), z.repeat(len(x), 1), library.repeat_interleave(N))
    return z[:, 0], log_p.view(-1, N) + weights.log()


def given_counts(n):
    """Return n points of libraries in turn, (n, D)."""
    return torch.tensor(LIBRARIES, dtype=torch.float64).repeat(n // 2)[:, None] / GENES * torch.ones(GENES)


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_the_library_of_counts_is_that_of_the_given_point(likelihood):
    model, prior = counts(likelihood)
    given, z = given_counts(2), normals(7, 2, 1)
    x = torch.poisson(given / 2, generator=torch.Generator().manual_seed(0))
    found = model.bridge(x, prior, given).log_joint(z)
    for b in range(2):
        library = torch.full((7,), LIBRARIES[b], dtype=torch.float64)
        expected = log_p_counts(model, x[b].expand(7, -1), z[:, b], library) + Normal(0, 1).log_prob(z[:, b, 0])
        np.testing.assert_allclose(found[:, b], expected, rtol=1e-9)


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_counts_are_simulated_for_the_library_of_the_given_point(likelihood):
    model, prior = counts(likelihood)
    given = given_counts(20_000)
    torch.manual_seed(5)
    x, u = model.simulate(given, prior)
    h = model.decoder((u,), None)
    kept = (-h[:, GENES:]).sigmoid() if likelihood == "zinb" else 1
    library = given.sum(1, keepdim=True)
    residual = x - library * h[:, :GENES].softmax(-1) * kept
    assert_close(torch.cat([residual * some for some in (1, library, u.tanh(), (2 * u).cos())], dim=1), 0)
    assert_close(torch.cat((u, u**2, u**3, u**4), dim=1), torch.tensor([0.0, 1, 0, 3]))


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_simulated_counts_are_bounded_from_above_only_if_they_keep_the_library(likelihood):
    """Were it recomputed from simulated counts, (x, u) would be no draw of the joint density, and log p(x) would have no bound.

    The base has the moments of the posterior, for long or loose chains would hide what they start from.
    """
    model, prior = counts(likelihood)
    n, C, T = 1200, 4, 2
    given = given_counts(n)
    torch.manual_seed(6)
    x, u = model.simulate(given, prior)
    some = x.sum(1) > 0
    x, u, given = x[some], u[some], given[some]
    z, log_joint = joint_on_nodes(model, x, given.sum(1))
    posterior = log_joint.softmax(1)
    mean = posterior @ z
    std = 1.1 * (posterior @ z.square() - mean.square()).sqrt()
    gaussian = mean[None, :, None], std[None, :, None]
    noise, steps = normals(C, len(x), noise_per_chain(T, 1, 1), seed=9), constant_steps(T, len(x), 1, 0.3)

    def measured(library):
        log_p = joint_on_nodes(model, x, library.sum(1))[1].logsumexp(1)
        bridge = model.bridge(x, prior, library)._replace(start=mixture_start(*gaussian), log_base=mixture_log_prob(*gaussian))
        up, down = forward(bridge, steps, noise, 1).log_weights, reverse(bridge, steps, u, noise, 1).log_weights
        return (up - log_p).exp().mean(0), (down + log_p).exp().mean(0), -log_mean(down)[0] - log_p.numpy()

    up, down, above = measured(given)
    assert_close(up, 1)
    assert_close(down, 1)
    assert above.mean() > 0
    if likelihood == "zinb":  # where the sum of the counts says much about the code
        up, down, above = measured(x)
        assert z_scores(above, 0) < -FAR


# what the chains of a point depend on


EVERY = [*SYSTEMS, "mvae", "nb", "zinb"]


def model_and_points(name):
    """Return a system's model and prior, and four points to simulate others from."""
    if name in SYSTEMS:
        one = system(name)
        return one.model, one.prior, one.x[:4]
    model, prior = mvae(3) if name == "mvae" else counts(name)
    return model, prior, normals(4, 2, seed=12) if name == "mvae" else given_counts(4)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in ("vae-spline", "vae-vamp-coupling", "zinb")])
def test_a_point_is_measured_by_its_own_noise_alone(name):
    model, prior, given = model_and_points(name)
    torch.manual_seed(13)
    x, u = model.simulate(given, prior)
    C, T, size, U = 3, 3, model.noise_size, u.shape[1]

    def measured(points):
        bridge = model.bridge(x[points], prior, given[points])
        tuning = tune(bridge, T, streams(points), size)
        noise = streams(points, seed=1)(C, noise_per_chain(T, size, U))
        return tuning, forward(bridge, tuning, noise, size), reverse(bridge, tuning, u[points], noise, size)

    tuning, *together = measured([0, 1, 2, 3])
    assert (tuning.scale.shape, tuning.steps.shape) == ((4, U), (T - 1, 4))
    for number in (0, 3):
        alone, *directions = measured([number])
        np.testing.assert_allclose(alone.scale[0], tuning.scale[number], rtol=1e-7)
        np.testing.assert_allclose(alone.steps[:, 0], tuning.steps[:, number], rtol=1e-7)
        for one, all_ in zip(directions, together, strict=True):
            assert one.log_weights.dtype == all_.log_weights.dtype == torch.float64
            assert all_.log_weights.shape == all_.acceptance.shape == (C, 4)
            np.testing.assert_allclose(one.log_weights[:, 0], all_.log_weights[:, number], rtol=1e-6, atol=1e-7)
            np.testing.assert_array_equal(one.acceptance[:, 0], all_.acceptance[:, number])


@pytest.mark.parametrize("name", EVERY)
def test_a_system_in_float32_has_the_same_densities_summed_in_float64(name):
    model, prior, given = model_and_points(name)
    torch.manual_seed(13)
    x, _ = model.simulate(given, prior)
    precise, size = model.bridge(x, prior, given), model.noise_size
    model = copy.deepcopy(model).float()
    bridge = model.bridge(x.float(), model.prior_distribution(torch.float64), given.float())
    noise = normals(20, 4, size + 1)
    u = bridge.start(noise.float())
    np.testing.assert_allclose(u, precise.start(noise), rtol=1e-3, atol=1e-3)
    for density in ("log_base", "log_joint"):
        found = getattr(bridge, density)(u)
        assert found.dtype == torch.float64
        np.testing.assert_allclose(found, getattr(precise, density)(u.double()), rtol=1e-4, atol=1e-4)
    U, T = u.shape[-1], 3
    noise, tuning = normals(20, 4, noise_per_chain(T, size, U)), constant_steps(T, 4, U, 0.2)
    rough = forward(bridge, Tuning(*(part.float() for part in tuning)), noise.float(), size)
    assert rough.log_weights.dtype == torch.float64
    assert (rough.log_weights - forward(precise, tuning, noise, size).log_weights).abs().median() < 1e-3
