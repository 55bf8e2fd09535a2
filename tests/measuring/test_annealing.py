"""Annealed importance sampling against closed forms, quadrature and loops, and the bridge of every system against its parts.

What holds exactly is tested as such: for any number of temperatures and any step sizes, the mean of the weights is p(x), or
1 / p(x) in reverse, to within its standard error. Wrong variants of the method must fail the same check by far.
"""

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
from mixvae.distributions.flows import ComponentFlows
from mixvae.distributions.posteriors import LOG_VAR_RANGE
from mixvae.measuring.annealing import Annealed, Tuning, forward, noise_per_chain, reverse, schedule, tune
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
    return forward(bridge, tuning, numbers, noise_size) if exact is None else reverse(bridge, tuning, exact, numbers, noise_size)


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
        self.shift, self.factor = 0.7 * normals(K, 1, self.Z, seed=4), torch.linspace(1.2, 2, K)[:, None, None]

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
    found = annealed(model.bridge(x), 4, model.Z, 30, 2000)
    estimate, error = log_mean(found.log_weights)
    assert error.max() < 0.03
    np.testing.assert_array_less(np.abs(estimate - exact), CLOSE * error)
    np.testing.assert_allclose(found.acceptance.mean(0), 0.8, atol=0.12)  # what the pilots aim at
    # in reverse, all chains of a point share its exact sample, so independent chains are copies of the point
    copies = x.repeat(500, 1)
    z = model.true_mean(copies) + normals(len(copies), model.Z, seed=7) @ torch.linalg.cholesky(model.posterior_covariance).T
    estimate, error = log_mean(annealed(model.bridge(copies), len(copies), model.Z, 30, 1, z).log_weights.view(500, 4))
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
        assert z_scores(below, 0) < -5
        assert z_scores(above, 0) > 5
        gaps.append((above - below).mean())
        # these are bounds because the weights themselves have no bias
        assert_close((up - exact).exp().mean(0), 1)
        assert_close((down + exact).exp().mean(0), 1)
    assert gaps[1] < gaps[0] / 3


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
    estimate, error = log_mean(annealed(target.bridge, 1, len(target.mean), 50, 4000).log_weights)
    assert error < 0.015
    assert abs(estimate - math.log(target.quadrature())) < CLOSE * error


def naive(log_joint, mean, std, T, chains, rng):
    """Return log w of Neal (2001), chain by chain and number by number, with Metropolis's random walk instead of HMC."""
    squashed = [1 / (1 + math.exp(-4 * (2 * t / T - 1))) for t in range(T + 1)]
    b = [(s - squashed[0]) / (squashed[-1] - squashed[0]) for s in squashed]

    def log_base(z):
        return sum(-0.5 * ((a - m) / s) ** 2 - math.log(s * math.sqrt(2 * math.pi)) for a, m, s in zip(z, mean, std, strict=True))

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


def own_forward(bridge, T, step, noise, rule="metropolis", gain=0.0):
    """Anneal chains of one point without scales, (C,) log weights: an own HMC, which can be wrong.

    Arguments:
        noise: (C, 1, U + 1 + (T - 1) (U + 1)) normal numbers.
        rule: "metropolis", "always" accept, or "without momentum" in the energies.
        gain: Where it is not 0, every chain changes its step size by its own acceptance, as the pilots do.
    """
    parts = noise.split(noise.shape[-1] // T, dim=-1)
    u, temperatures, log_w = bridge.start(parts[0]), schedule(T), 0.0
    step = torch.full((len(noise), 1, 1), step, dtype=torch.float64)

    def density(u, b):
        u = u.detach().requires_grad_()
        log_f = (1 - b) * bridge.log_base(u) + b * bridge.log_joint(u)
        return log_f.detach(), torch.autograd.grad(log_f.sum(), u)[0]

    for t in range(1, T + 1):
        log_w = log_w + (temperatures[t] - temperatures[t - 1]) * (bridge.log_joint(u) - bridge.log_base(u))
        if t < T:
            momentum = parts[t][..., :-1]
            new, kick = u, momentum
            start, force = density(new, temperatures[t])
            for _ in range(5):
                kick = kick + step / 2 * force
                new = new + step * kick
                end, force = density(new, temperatures[t])
                kick = kick + step / 2 * force
            gained = end - start
            if rule != "without momentum":
                gained = gained - (kick.square() - momentum.square()).sum(-1) / 2
            probability = gained.exp().clamp(max=1).nan_to_num(0)
            chosen = torch.from_numpy(special.ndtr(parts[t][..., -1].numpy())) < probability
            u = torch.where((end.isfinite() if rule == "always" else chosen)[..., None], new, u)
            step = step * (gain * (probability - 0.8)).exp()[..., None]
    return log_w[:, 0]


COARSE_T, COARSE_STEP, MANY = 5, 0.7, 1_000_000


@functools.cache
def coarse(target):
    """Return noise for many chains of a target, and p(x)."""
    U = len(target.mean)
    return normals(MANY // U, 1, noise_per_chain(COARSE_T, U, U), seed=11), target.quadrature()


@pytest.mark.parametrize(("target", "step"), [(TWO_MODES, 0.7), (CRESCENT, 0.5)])
def test_the_mean_weight_is_the_likelihood_with_few_and_coarse_moves(target, step):
    U = len(target.mean)
    noise, exact = coarse(target)
    coarse_steps = Tuning(torch.ones(1, U, dtype=torch.float64), torch.full((COARSE_T - 1, 1), step, dtype=torch.float64))
    found = forward(target.bridge, coarse_steps, noise, U)
    ratios = found.log_weights[:, 0].exp() / exact
    print("unbiased", U, z_scores(ratios, 1), ratios.std() / len(ratios) ** 0.5, found.acceptance.mean())
    assert ratios.std() / len(ratios) ** 0.5 < 0.004
    assert 0.2 < found.acceptance.mean() < 0.6
    assert_close(ratios, 1)
    # chain by chain these are the weights of an HMC that is written anew
    np.testing.assert_allclose(found.log_weights[:1000, 0], own_forward(target.bridge, COARSE_T, step, noise[:1000]), atol=1e-8)


@pytest.mark.parametrize("wrong", [{"rule": "always"}, {"rule": "without momentum"}, {"gain": 1.0}])
def test_moves_that_do_not_keep_the_density_fail_that_check(wrong):
    """The last one adapts every chain's steps to its own history by the pilots' rule."""
    noise, exact = coarse(TWO_MODES)
    ratios = own_forward(TWO_MODES.bridge, COARSE_T, COARSE_STEP, noise, **wrong).exp() / exact
    print("mutant", wrong, z_scores(ratios, 1), ratios.mean())
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


def gaussian_nodes(Z, n=48):
    """Return nodes (N, Z) and weights (N,) of Gauss-Hermite quadrature for N(0, I)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    weights = torch.from_numpy(weights / weights.sum())
    return torch.cartesian_prod(*[torch.from_numpy(nodes)] * Z).view(-1, Z), functools.reduce(torch.outer, [weights] * Z).flatten()


def scaled(mean, log_var, nodes):
    return mean + (0.5 * log_var.clamp(*LOG_VAR_RANGE)).exp() * nodes


def likelihoods(model, x, *codes):
    """Return p(x|z) of x (X, D) at codes (..., Z), (..., X), from the decoder's logits."""
    logits = model.decoder([code[..., None, :].expand(*code.shape[:-1], len(x), -1) for code in codes], x)
    return (logits * (2 * x - 1)).sigmoid().prod(-1)


def of_vae(model, x):
    nodes, weights = gaussian_nodes(model.noise_size)
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
    nodes, weights = gaussian_nodes(model.latent, 24)
    mean, log_var = model.conditional(top).chunk(2, dim=-1)
    z1 = scaled(mean[:, None], log_var[:, None], nodes)
    z2 = top[:, None].expand(*z1.shape[:-1], -1)
    return torch.einsum("m,n,mnx->x", top_weights, weights, likelihoods(model, x, z1, z2))


def of_gmvae(model, x):
    w, w_weights = gaussian_nodes(model.latent_w)
    nodes, weights = gaussian_nodes(model.latent)
    p = 0
    for c in range(model.C):
        mean, log_var = (part[:, c] for part in model.components(w))
        p = p + torch.einsum("m,n,mnx->x", w_weights, weights, likelihoods(model, x, scaled(mean[:, None], log_var[:, None], nodes)))
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


TINY = {"dataset": "digits", "likelihood": "bernoulli", "latent": 2, "encoder": {"hidden": [6]}, "decoder": {"hidden": [6]}, "K": 3}
IAF = {"name": "iaf", "hidden": [6], "order": "alternating"}
COUPLING = {"name": "coupling", "steps": 2, "hidden": [6]}
SPLINE = {"name": "spline", "steps": 2, "hidden": [6], "bins": 4}
VAMP = {"name": "vamp", "components": 4}
HVAE = {"model": "hvae", "latent": 1, "latent_top": 1, "lower": {"hidden": [6]}, "joint": 6, "conditional": {"hidden": [6]}}
SYSTEMS = {
    "vae": (MixtureVAE, of_vae, {"model": "vae"}),
    "vae-iaf": (MixtureVAE, of_vae, {"model": "vae", "flow": IAF}),
    "vae-coupling": (MixtureVAE, of_vae, {"model": "vae", "flow": COUPLING}),
    "vae-spline": (MixtureVAE, of_vae, {"model": "vae", "flow": SPLINE}),
    "vae-mog-iaf": (MixtureVAE, of_vae, {"model": "vae", "flow": IAF, "prior": {"name": "mog", "components": 3}}),
    "vae-vamp-coupling": (MixtureVAE, of_vae, {"model": "vae", "flow": COUPLING, "prior": VAMP}),
    "vae-pixelcnn": (MixtureVAE, of_vae, {"model": "vae", "latent": 1, "decoder": {"name": "pixelcnn", "layers": 2, "channels": 3}}),
    "hvae": (HierarchicalVAE, of_hvae, HVAE),
    "hvae-iaf": (HierarchicalVAE, of_hvae, {**HVAE, "latent": 2, "flow": IAF}),
    "hvae-coupling": (HierarchicalVAE, of_hvae, {**HVAE, "latent": 2, "flow": COUPLING}),
    "gmvae": (GMVAE, of_gmvae, {"model": "gmvae", "latent": 1, "latent_w": 1, "mixture": {"hidden": [6]}}),
    "gmvae_shu": (ShuGMVAE, of_shu, {"model": "gmvae_shu"}),
    "cpvae": (CPVAE, of_cpvae, {"model": "cpvae"}),
}  # fmt: skip
PLANES = [name for name in SYSTEMS if name not in ("hvae-iaf", "hvae-coupling")]
"""The systems whose coordinates are few enough for a grid."""


def build(kind, settings, shape, inputs):
    torch.manual_seed(1)
    model = kind(parse_run({**TINY, **settings}), inputs, shape).double().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.mul_(2)  # far from the zero weights at which much would agree
    return model


@functools.cache
def system(name):
    kind, exact, settings = SYSTEMS[name]
    shape = (1, 2, 2) if "pixelcnn" in name else (2,)
    D = math.prod(shape)
    x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * D)
    model = build(kind, settings, shape, normals(60, D, seed=2).sigmoid().float())
    prior = model.prior_distribution(torch.float64)
    p = exact(model, x)
    U = model.simulate(x, prior)[1].shape[1]
    return System(model, prior, x, p, U)


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
    n, room = {1: 2001, 2: 241}[one.U], 0.4 * (high - low)
    axes = [torch.linspace(a, b, n, dtype=torch.float64) for a, b in zip(low - room, high + room, strict=True)]
    u = torch.cartesian_prod(*axes).view(-1, one.U)
    at = u[:, None].expand(-1, X, -1)
    volume = math.prod((axis[1] - axis[0]).item() for axis in axes)
    return Grid(u, one.bridge.log_joint(at).exp() * volume, one.bridge.log_base(at).exp() * volume)


def statistics(u):
    """Return smooth bounded functions of u (..., U) by which distributions are told apart, (..., S)."""
    product = (u[..., 0] * u[..., -1])[..., None].tanh()
    return torch.cat((torch.ones_like(product), product, u.tanh(), (2 * u).cos()), dim=-1)


@pytest.mark.parametrize("name", PLANES)
def test_a_joint_density_integrates_to_the_likelihood_and_a_posterior_to_one(name):
    one, on = system(name), grid(name)
    print("grid", name, (on.joint.sum(0)/ one.p - 1).abs().max().item(), (on.base.sum(0) - 1).abs().max().item(), one.p.sum() - 1)
    np.testing.assert_allclose(on.joint.sum(0), one.p, rtol=2e-3)
    np.testing.assert_allclose(on.joint.sum(), 1, atol=1e-3)  # a sum over all x
    np.testing.assert_allclose(on.base.sum(0), 1, atol=2e-3)


@pytest.mark.parametrize("name", PLANES)
def test_a_start_is_a_draw_of_the_base_density(name):
    one, on = system(name), grid(name)
    u = one.bridge.start(normals(20_000, len(one.x), one.model.noise_size + 1, seed=4))
    assert_close(statistics(u)[..., 1:], torch.einsum("nx,ns->xs", on.base, statistics(on.u))[:, 1:])


@pytest.mark.parametrize("name", PLANES)
def test_simulated_points_and_coordinates_have_the_joint_density(name):
    one, on, X = system(name), grid(name), len(system(name).x)
    torch.manual_seed(5)
    x, u = one.model.simulate(torch.zeros(40_000, one.x.shape[1], dtype=torch.float64), one.prior)
    which = (x[:, None] == one.x).all(-1).double()
    assert which.sum(1).eq(1).all()
    found = which[:, :, None] * statistics(u)[:, None]
    assert_close(found.flatten(1), torch.einsum("nx,ns->xs", on.joint, statistics(on.u)).flatten())


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_has_its_exact_likelihood_by_annealing_from_its_posterior(name):
    one, X = system(name), len(system(name).x)
    found = annealed(one.bridge, X, one.model.noise_size, 8, 6000 // X)
    estimate, error = log_mean(found.log_weights)
    print("ais", name, (estimate - one.p.log().numpy()) / error, error.max(), found.acceptance.mean().item())
    assert error.max() < 0.05
    np.testing.assert_array_less(np.abs(estimate - one.p.log().numpy()), CLOSE * error)


@pytest.mark.parametrize("name", SYSTEMS)
def test_both_directions_are_without_bias_on_points_that_a_system_simulates(name):
    one, n = system(name), 1500
    torch.manual_seed(6)
    x, u = one.model.simulate(torch.zeros(n, one.x.shape[1], dtype=torch.float64), one.prior)
    p = one.p[(x[:, None] == one.x).all(-1).double().argmax(1)]
    bridge = one.model.bridge(x, one.prior, x)
    up, down = (annealed(bridge, n, one.model.noise_size, 6, 1, start).log_weights[0].exp() for start in (None, u))
    print("bdmc", name, z_scores(up / p, 1), z_scores(down * p, 1), (up/p).std()/n**.5, (down*p).std()/n**.5)
    assert_close(up / p, 1)
    assert_close(down * p, 1)
