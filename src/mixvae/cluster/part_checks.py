"""Tries a part in the ways in which every part of the library is tried, before anybody trains with it for days.

A check raises UserError with what it found and what it expected. `checks` lists those of a kind of part.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.autograd.functional import jacobian
from torch.distributions import Distribution

from mixvae.distributions import flows, priors
from mixvae.distributions.gaussians import DiagonalMixture
from mixvae.distributions.likelihoods import likelihood
from mixvae.distributions.posteriors import GaussianMixture
from mixvae.errors import UserError
from mixvae.models import build
from mixvae.models.objectives import LogTerms, Objective
from mixvae.models.own_metrics import own_metrics
from mixvae.nets import decoder, features
from mixvae.study import Run, parts

L, K, B, Z = 3, 2, 5, 2
IMAGE = (1, 8, 8)
SHAPES = {"grey_image": (1, 1, 2), "colour_image": (3, 1, 2), "counts": (2,), "real": (2,)}
"""The smallest shapes of points, on which a density can be compared with samples."""
DRAWS, TOLERANCE, SIGMAS = 20_000, 0.02, 5.0
"""Samples that a density is compared with, and by how much an average of them may be off beside so many standard errors."""
NEAR = 1e-3
"""How far float32 may be from float64."""
DATA = torch.rand(30, 4, generator=torch.Generator().manual_seed(3))
"""The points (N, D) that a model is built from, which are images of four pixels."""

OFFERS, ADDS_UP = "what it offers", "likelihoods add up to 1"
FIRST = (OFFERS, "shapes")
"""Checks without which the others say nothing."""


class Kind(NamedTuple):
    """How the parts of one kind are tried; for a model, its settings are the spec of a run by its number of components.

    make: Builds the module of settings for a number of components.
    inputs: The inputs of `value` for a number of components; its axis `batch` is over points.
    value: What the module computes of inputs, (..., B, ...).
    axis: The axis of `value` that is over points.
    checks: The checks by name, each of this kind and of settings.
    offers: The attributes that the module must have.
    called: The name of values in messages.
    """

    make: Callable[[Any, int], nn.Module]
    inputs: Callable[[Any, int], Tensor]
    value: Callable[[nn.Module, Tensor], Tensor]
    batch: int
    axis: int
    checks: dict[str, Callable[["Kind", Any], None]]
    offers: tuple[str, ...] = ()
    called: str = "values"

    def initial(self, settings: Any, components: int = K) -> Any:
        """Return the module of settings at its initial values, the same in every process."""
        torch.manual_seed(0)
        return self.make(settings, components)

    def moved(self, settings: Any, components: int = K) -> Any:
        """Return the module with parameters moved off their initial values, since zeros and equal components hide mistakes."""
        module, generator = self.initial(settings, components), torch.Generator().manual_seed(4)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        return module


def checks(kind: str, settings: Any) -> dict[str, Callable[[], None]]:
    """Return the checks of a part by name.

    Arguments:
        kind: "prior", "flow", "encoder", "decoder", "likelihood" or "model".
        settings: The part's settings; for a model, the spec of a run by its number of components.
    """
    found = {name: partial(check, KINDS[kind], settings) for name, check in KINDS[kind].checks.items()}
    if kind == "model" and not settings(1).likelihood.binary:
        del found[ADDS_UP]
    return found


def expect(holds: bool, text: str) -> None:
    """Raise UserError with the text unless it holds."""
    if not holds:
        raise UserError(text)


def expect_shape(what: str, found: Tensor, letters: str, *expected: int) -> None:
    """Raise UserError unless a tensor has a shape and is finite."""
    expect(isinstance(found, Tensor), f"{what} is a {type(found).__name__}, expected a tensor")
    expect(tuple(found.shape) == expected, f"{what} has shape {tuple(found.shape)}, expected ({letters}) = {expected}")
    expect(bool(found.isfinite().all()), f"{what} is not finite: {found[~found.isfinite()][:1].tolist()}")


def expect_near(what: str, found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Raise UserError unless two tensors are nearly equal."""
    found, expected = found.detach(), expected.detach()
    off = float(((found - expected).abs() / expected.abs().clamp(min=1)).max()) if found.numel() else 0.0
    expect(off <= tolerance, f"{what} differ by {off:.2g}, expected at most {tolerance:g}")


def expect_gradients(module: nn.Module, value: Tensor) -> None:
    """Raise UserError unless every parameter gets a finite gradient of a value."""
    value.sum().backward()
    for name, parameter in module.named_parameters():
        expect(parameter.grad is not None, f"parameter {name} gets no gradient")
        expect(bool(parameter.grad.isfinite().all()), f"the gradient of parameter {name} is not finite")


def noise(*shape: int) -> Tensor:
    """Return standard normals that are the same in every process."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


# --- checks of parts of every kind


def everything_is_there(kind: Kind, settings: Any) -> None:
    """The module has the attributes and methods of its kind; docs/extending.md and the library's own parts say what they are."""
    module = kind.initial(settings)
    missing = [name for name in kind.offers if not hasattr(module, name)]
    expect(not missing, f"Module has no {' and no '.join(missing)}; the parts of this kind have {', '.join(kind.offers)}")


def no_gradient_is_missing(kind: Kind, settings: Any) -> None:
    """Every parameter gets a finite gradient."""
    module = kind.moved(settings).train()
    if list(module.parameters()):
        expect_gradients(module, kind.value(module, kind.inputs(settings, K)))


def points_are_independent(kind: Kind, settings: Any) -> None:
    """What is computed of a point does not depend on the points beside it."""
    module, inputs = kind.moved(settings).eval(), kind.inputs(settings, K)
    every = kind.value(module, inputs).narrow(kind.axis, 0, 2)
    expect_near(
        f"{kind.called} of two points, alone and among others,", kind.value(module, inputs.narrow(kind.batch, 0, 2)), every
    )


def float64_is_kept(kind: Kind, settings: Any) -> None:
    """In float64 it computes in float64, and float32 is near."""
    module, inputs = kind.moved(settings).eval(), kind.inputs(settings, K)
    single, double = kind.value(module, inputs), kind.value(module.double(), inputs.double())
    expect(double.dtype == torch.float64, f"of float64 it makes {double.dtype}")
    expect_near("values in float32 and float64", single.double(), double, NEAR)


def one_component_is_enough(kind: Kind, settings: Any) -> None:
    """It can be built for K = 1."""
    value = kind.value(kind.moved(settings, 1).eval(), kind.inputs(settings, 1))
    expect(bool(value.isfinite().all()), "with K = 1 its values are not finite")


def saving_loses_nothing(kind: Kind, settings: Any) -> None:
    """A module that gets the saved state of another computes the same."""
    module, again, inputs = kind.moved(settings), kind.initial(settings), kind.inputs(settings, K)
    again.load_state_dict(load(save({name: tensor.contiguous() for name, tensor in module.state_dict().items()})))
    before, after = (kind.value(one.eval(), inputs) for one in (module, again))
    expect_near(f"{kind.called} before and after saving", after, before, tolerance=0.0)


GENERAL = {
    "gradients": no_gradient_is_missing,
    "points are independent": points_are_independent,
    "float64": float64_is_kept,
    "K = 1": one_component_is_enough,
    "saved and loaded": saving_loses_nothing,
}


def density_is_that_of_samples(what: str, drawn: Tensor, log_prob: Callable[[Tensor], Tensor]) -> None:
    r"""Check a density on R^D, normalised and that of `drawn` (N, D).

    For samples of p, the mean of g/p is 1 for any density g on p's support; g is the samples' own normal, somewhat narrower, so
    that g/p has no heavy tail unless p is wrong.
    """
    drawn = drawn.double()
    g = torch.distributions.MultivariateNormal(drawn.mean(0), 0.5 * drawn.T.cov().reshape(drawn.shape[1], -1))
    ratios = (g.log_prob(drawn) - log_prob(drawn)).exp()
    mean, error = ratios.mean().item(), ratios.std().item() / math.sqrt(len(ratios))
    expect(
        abs(mean - 1) <= TOLERANCE + SIGMAS * error,
        f"{what} adds up to about {1 / mean:.3f} and not to 1, by {len(ratios)} samples (or these are of another distribution)",
    )


def probability_is_that_of_samples(what: str, drawn: Tensor, log_prob: Callable[[Tensor], Tensor]) -> None:
    """Check probabilities of discrete points against how often the most frequent ones of `drawn` (N, D) come."""
    values, counts = drawn.unique(dim=0, return_counts=True)
    for number in counts.argsort(descending=True)[:5].tolist():
        share, expected = counts[number].item() / len(drawn), log_prob(values[number : number + 1]).exp().item()
        error = math.sqrt(max(expected * (1 - expected), 1e-9) / len(drawn))
        expect(
            abs(share - expected) <= TOLERANCE / 10 + SIGMAS * error,
            f"{what} of {values[number].tolist()} is {expected:.4f}, but it is {share:.4f} of {len(drawn)} samples",
        )


# --- priors


def encode(inputs: Tensor) -> GaussianMixture:
    """Return a posterior of points (B, D), for priors that are made of posteriors."""
    mean = torch.stack([inputs[:, :Z] + k for k in range(K)])
    return GaussianMixture(mean, torch.zeros_like(mean))


def make_prior(settings: Any, components: int) -> nn.Module:
    points = torch.rand(20, math.prod(IMAGE))
    return priors.build(settings, Z, lambda most: points[:most], likelihood(parts.Bernoulli(), IMAGE))


def prior_shapes(kind: Kind, settings: Any) -> None:
    """Densities of (L, K, B, Z) are (L, K, B), samples of n points (n, Z)."""
    prior = kind.moved(settings)
    found = prior(encode, torch.float32)
    expect(isinstance(found, Distribution), f"forward gives a {type(found).__name__}, expected a torch Distribution")
    expect_shape("log_prob of (L, K, B, Z)", found.log_prob(noise(L, K, B, Z)), "L, K, B", L, K, B)
    expect_shape("sample((n,))", found.sample((7,)), "n, Z", 7, Z)
    number = prior.gaussians(K)
    expect(isinstance(number, int) and number >= 1, f"gaussians(K) is {number!r}, expected a number from 1")


def prior_precision(kind: Kind, settings: Any) -> None:
    """A prior that is asked for float64 computes its density in float64."""
    prior, z = kind.moved(settings), noise(B, Z)
    single, double = (prior(encode, dtype).log_prob(z) for dtype in (torch.float32, torch.float64))
    expect(double.dtype == torch.float64, f"asked for float64 it computes {double.dtype}")
    expect_near("densities in float32 and float64", single.double(), double, NEAR)


def prior_density(kind: Kind, settings: Any) -> None:
    """The density is normalised, and that of the samples."""
    found = kind.moved(settings)(encode, torch.float64)
    with torch.no_grad():
        density_is_that_of_samples("the density", found.sample((DRAWS,)), found.log_prob)


# --- flows


def flow_shapes(kind: Kind, settings: Any) -> None:
    """See `mixvae.distributions.flows.Pushed`."""
    flow = kind.moved(settings)
    J = flow.distinct
    expect(J in (1, K), f"distinct is {J!r}, expected 1 or K = {K}")
    expect(isinstance(flow.is_identity, bool), f"is_identity is {flow.is_identity!r}, expected true or false")
    pushed = flow.push(noise(L, K, B, Z))
    expect_shape("push(z).z", pushed.z, "L, K, B, Z", L, K, B, Z)
    expect_shape("push(z).base", pushed.base, "J, L, K, B, Z", J, L, K, B, Z)
    expect_shape("push(z).log_det", pushed.log_det, "J, L, K, B", J, L, K, B)
    base, log_det = flow.inverse(noise(J, B, Z))
    expect_shape("inverse(z)[0]", base, "J, N, Z", J, B, Z)
    expect_shape("inverse(z)[1]", log_det, "J, N", J, B)


def _own(found: Tensor, J: int) -> Tensor:
    """Return what (J, L, K, B, ...) says of each sample under its own component's flow, (L, K, B, ...)."""
    return found[0] if J == 1 else torch.stack([found[k, :, k] for k in range(J)], dim=1)


def flow_inverse(kind: Kind, settings: Any) -> None:
    """Base points are those that were pushed, and `inverse` finds them again."""
    flow, z = kind.moved(settings).eval().double(), noise(L, K, B, Z).double()
    with torch.no_grad():
        pushed = flow.push(z)
        expect_near("points, and the base points of what they were pushed to,", _own(pushed.base, flow.distinct), z, NEAR)
        flat = pushed.z.reshape(1, -1, Z).expand(flow.distinct, -1, -1)
        base, log_det = flow.inverse(flat)
        expect_near("base points by push and by inverse", base.reshape(pushed.base.shape), pushed.base, NEAR)
        expect_near(
            "log|det dz/dbase|, which both push and inverse give,", log_det.reshape(pushed.log_det.shape), pushed.log_det, NEAR
        )


def flow_determinant(kind: Kind, settings: Any) -> None:
    """log|det dz/dbase| is that of the Jacobian by automatic differentiation."""
    flow, z = kind.moved(settings).eval().double(), noise(1, K, 1, Z).double()
    for k in range(K):

        def pushed(own: Tensor, k: int = k) -> Tensor:
            everything = z.clone()
            everything[0, k, 0] = own
            return flow.push(everything).z[0, k, 0]

        exact = jacobian(pushed, z[0, k, 0]).double().slogdet()[1]
        said = _own(flow.push(z).log_det, flow.distinct)[0, k, 0].detach().double()
        expect_near(f"log|det| of component {k + 1} and that of the Jacobian", said, exact, NEAR)


def flow_aggregate(kind: Kind, settings: Any) -> None:
    """The prior that it makes of posteriors is normalised, and that of its samples; a shared flow makes it of base Gaussians."""
    flow, mean, log_var = kind.moved(settings).eval(), noise(K, 4, Z), torch.zeros(K, 4, Z)
    found = flow.aggregate(mean, log_var, torch.float64)
    with torch.no_grad():
        if flow.distinct == 1:
            z, base = noise(B, Z).double(), DiagonalMixture(mean.flatten(0, 1), log_var.flatten(0, 1), torch.float64)
            off = float((found.log_prob(z) - base.log_prob(z)).abs().max())
            expect(
                off <= NEAR,
                f"aggregate of a flow that all components share differs from the mixture of base Gaussians by {off:.2g} nats: passed "
                "through the flow, the prior's determinant cancels that of the posterior; derive from flows.SharedFlow",
            )
        density_is_that_of_samples("aggregate's density", found.sample((DRAWS,)), found.log_prob)


# --- networks


def encoder_shapes(kind: Kind, settings: Any) -> None:
    """(B, D) gives (K, B, F)."""
    _, F = features(settings, K, IMAGE)
    expect(isinstance(F, int) and F >= 1, f"features is {F!r}, expected a number from 1")
    expect_shape("the encoding of (B, D)", kind.moved(settings)(noise(B, math.prod(IMAGE))), "K, B, F", K, B, F)


def encoder_components(kind: Kind, settings: Any) -> None:
    """(K, B, D), an input for each component, gives (K, B, F) too, and no component reads the input of another."""
    network, x = kind.moved(settings).eval(), noise(K, B, math.prod(IMAGE))
    _, F = features(settings, K, IMAGE)
    expect_shape("the encoding of (K, B, D)", network(x), "K, B, F", K, B, F)
    other = x.clone()
    other[0] = 0
    expect_near("encodings by component 2, whatever component 1 reads,", network(other)[1], network(x)[1])


def decode(network: nn.Module, inputs: Tensor) -> Tensor:
    """Decode codes (B, Z), which stand beside the points that an autoregressive decoder reads, as (B, P)."""
    return network([inputs[None, :, :Z]], inputs[:, Z:])[0]


def decoder_shapes(kind: Kind, settings: Any) -> None:
    """Codes of (L, K, B, Z) give (L, K, B, P)."""
    network = kind.moved(settings)
    P = math.prod(IMAGE)
    expect(isinstance(network.width, int) and network.width >= 1, f"width is {network.width!r}, expected a number from 1")
    found = network([noise(L, K, B, Z)], (noise(B, P) > 0).float())
    expect_shape("the decoding of (L, K, B, Z)", found, "L, K, B, P", L, K, B, P)


# --- likelihoods


def shape_of(settings: Any) -> tuple[int, ...]:
    """Return the smallest shape of a kind of data that a likelihood fits."""
    return next(SHAPES[kind] for kind in settings.kinds if kind in SHAPES)


def data_for(settings: Any, n: int) -> Tensor:
    """Return points (n, D) such as the likelihood's data."""
    D, generator = math.prod(shape_of(settings)), torch.Generator().manual_seed(2)
    if "counts" in settings.kinds:
        return torch.randint(1, 9, (n, D), generator=generator).float()
    levels = torch.randint(0, 256, (n, D), generator=generator) / 255
    return levels.round() if settings.binary else levels


def outputs_and_points(settings: Any, components: int) -> Tensor:
    """Return a decoder's outputs (B, P) and points (B, D), side by side."""
    x = data_for(settings, B)
    return torch.cat([0.5 * noise(B, likelihood(settings, shape_of(settings)).parameters_per_point), x], dim=1)


def log_likelihood(module: nn.Module, inputs: Tensor) -> Tensor:
    P = module.parameters_per_point
    return module(inputs[:, :P], inputs[:, P:]).log_prob(inputs[:, P:])


def likelihood_shapes(kind: Kind, settings: Any) -> None:
    """Outputs of (L, K, B, P) give densities (L, K, B) and means (L, K, B, D)."""
    module, x = kind.moved(settings), data_for(settings, B)
    found = module(0.5 * noise(L, K, B, module.parameters_per_point), x)
    expect_shape("log_prob of (B, D) at (L, K, B, P)", found.log_prob(x), "L, K, B", L, K, B)
    expect_shape("the mean at (L, K, B, P)", found.mean, "L, K, B, D", L, K, B, x.shape[1])
    read = module.encoder_input(x)
    expect_shape("encoder_input of (B, D)", read, "B, D", *x.shape)
    expect_shape(
        "constrain(unconstrain(.)) of an encoder's inputs", module.constrain(module.unconstrain(read)), "B, D", *x.shape
    )


def likelihood_gradient(kind: Kind, settings: Any) -> None:
    """The decoder's outputs get a finite gradient."""
    module, x = kind.moved(settings), data_for(settings, B)
    h = (0.5 * noise(B, module.parameters_per_point)).requires_grad_()
    module(h, x).log_prob(x).sum().backward()
    expect(h.grad is not None and bool(h.grad.isfinite().all()), "the gradient of a decoder's output is missing or not finite")


def likelihood_density(kind: Kind, settings: Any) -> None:
    """Densities or probabilities are normalised, and those of the samples."""
    module, x = kind.moved(settings), data_for(settings, 1)
    h = (0.5 * noise(1, module.parameters_per_point)).double()
    with torch.no_grad():
        found = module.double()(h, x.double())
        drawn = found.sample((DRAWS,))[:, 0]
        if settings.discrete or "counts" in settings.kinds:
            probability_is_that_of_samples("the probability", drawn, found.log_prob)
        else:
            # given the samples as points, too: a density that reads its own point may predict it
            density_is_that_of_samples("the density", drawn, module(h.expand(len(drawn), -1), drawn).log_prob)


def likelihood_constant(kind: Kind, settings: Any) -> None:
    """The control's output is one for all points, (P,); a likelihood that has none says so by `has_constant`."""
    if settings.has_constant and settings.of_control == settings:
        module = kind.moved(settings)
        expect_shape("constant of (N, D)", module.constant(data_for(settings, 50)), "P", module.parameters_per_point)


# --- models

Spec = Callable[[int], Run]
"""Gives the spec of a run by its number of components."""


def points_of(spec: Spec, components: int) -> Tensor:
    """Return points (B, D) as a model sees them."""
    return DATA[:B].round() if spec(components).likelihood.binary else DATA[:B]


@torch.no_grad()
def log_terms(model: Any, x: Tensor) -> Tensor:
    """Return the four log-densities of x (B, D), (4, L, S, B), each point's from noise of its own."""
    drawn = noise(L, model.sampled_components, B, model.noise_size)[:, :, : len(x)]
    return torch.stack([*model.log_terms(x, model.posterior(x), model.prior_distribution(torch.float32), drawn)])


def model_shapes(kind: Kind, spec: Spec) -> None:
    """Every method of the contract gives what `mixvae.models.contract` says."""
    for number in (1, K):
        model, x, run = kind.moved(spec, number).requires_grad_(False), kind.inputs(spec, number), spec(number)
        C, S = model.codes(x)[0].shape[0], model.sampled_components
        drawn = noise(L, S, B, model.noise_size)
        terms = model.log_terms(x, model.posterior(x), model.prior_distribution(torch.float32), drawn)
        for name, found in zip(LogTerms._fields, terms, strict=True):
            expect_shape(f"log_terms(.).{name}", found, "L, K, B", L, S, B)
        for name, found in zip(Objective._fields, model.objective(x, 1.0, noise(1, S, B, model.noise_size)), strict=True):
            expect_shape(f"objective(.).{name}", found, "B", B)
        mean, std = model.codes(x)
        expect_shape("codes(x)[0]", mean, "components, B, Z", C, B, mean.shape[2])
        expect_shape("codes(x)[1]", std, "components, B, Z", *mean.shape)
        expect_shape("expectation(x, noise)", model.expectation(x, drawn), "B, latent_units", B, run.latent_units)
        expect_shape("reconstruct(x)", model.reconstruct(x), "components, B, D", model.reconstruct(x).shape[0], B, 4)
        expect_shape("sample(n)", model.sample(7), "n, D", 7, 4)
        if run.categorises:
            expect_shape("categories(x)", model.categories(x), "B, K", B, number)


def model_metrics(kind: Kind, spec: Spec) -> None:
    """It measures the metrics of its own that its settings name."""
    for number in (1, K):
        model = kind.moved(spec, number).eval()
        with torch.inference_mode():
            own_metrics(model, spec(number), kind.inputs(spec, number), "grey_image")


def model_gradients(kind: Kind, spec: Spec) -> None:
    """Every parameter gets a finite gradient of the objective."""
    model, x = kind.moved(spec).train(), kind.inputs(spec, K)
    expect_gradients(model, model.objective(x, 1.0, noise(1, model.sampled_components, B, model.noise_size)).value)


def model_likelihood(kind: Kind, spec: Spec) -> None:
    """Importance-weighted estimates of p(x) add up to 1 over all 16 binary images of 4 pixels."""
    every = torch.tensor(list(product((0.0, 1.0), repeat=4)))
    for number in (1, K):
        model = kind.moved(spec, number).eval()
        drawn = noise(2000, model.sampled_components, len(every), model.noise_size)
        with torch.no_grad():
            prior = model.prior_distribution(torch.float64)
            terms = model.log_terms(every, model.posterior(every), prior, drawn)
            adds_up(f"with K = {number},", terms.log_weights().flatten(0, 1))
            if not hasattr(model, "bridge"):
                continue
            bridge = model.bridge(every, prior, every)
            u = bridge.start(noise(2000, len(every), model.noise_size + 1))
            adds_up(f"with K = {number}, by its bridge,", bridge.log_joint(u) - bridge.log_base(u))
        u.requires_grad_()
        (slope,) = torch.autograd.grad((bridge.log_joint(u) - bridge.log_base(u)).sum(), u)
        expect(slope.isfinite().all().item(), f"with K = {number}, a gradient of its bridge is not finite")


def adds_up(what: str, log_weights: Tensor) -> None:
    """Check that the means of importance weights (N, X) add up to 1 over X."""
    weights = log_weights.double().exp()
    total, error = weights.mean(0).sum().item(), (weights.var(0) / len(weights)).sum().sqrt().item()
    expect(
        abs(total - 1) <= TOLERANCE + SIGMAS * error,
        f"{what} p(x) adds up to {total:.3f} ± {error:.3f} over all images of 4 pixels, expected 1",
    )


KINDS = {
    "prior": Kind(
        make_prior, lambda settings, components: noise(B, Z), lambda prior, z: prior(encode, z.dtype).log_prob(z), 0, 0,
        {
            OFFERS: everything_is_there, "shapes": prior_shapes, **GENERAL,
            "asked for float64": prior_precision, "density against samples": prior_density,
        },
        ("gaussians",),
    ),
    "flow": Kind(
        lambda settings, components: flows.build(settings, components, Z),
        lambda settings, components: noise(L, components, B, Z),
        lambda flow, z: sum(flow.push(z).log_det) + flow.push(z).z.sum(-1), 2, 2,
        {
            OFFERS: everything_is_there, "shapes": flow_shapes, **GENERAL,
            "inverse": flow_inverse, "determinant": flow_determinant, "aggregate": flow_aggregate,
        },
        ("distinct", "is_identity", "push", "inverse", "aggregate"),
    ),
    "encoder": Kind(
        lambda settings, components: features(settings, components, IMAGE)[0],
        lambda settings, components: noise(B, math.prod(IMAGE)), lambda network, x: network(x), 0, 1,
        {
            OFFERS: everything_is_there, "shapes": encoder_shapes, **GENERAL,
            "inputs of each component (K, B, D)": encoder_components,
        },
    ),
    "decoder": Kind(
        lambda settings, components: decoder(settings, (Z,), IMAGE, math.prod(IMAGE)),
        lambda settings, components: (noise(B, Z + math.prod(IMAGE)) > 0).float(), decode, 0, 0,
        {OFFERS: everything_is_there, "shapes": decoder_shapes, **GENERAL},
        ("width",),
    ),
    "likelihood": Kind(
        lambda settings, components: likelihood(settings, shape_of(settings)), outputs_and_points, log_likelihood, 0, 0,
        {
            OFFERS: everything_is_there, "shapes": likelihood_shapes, **GENERAL, "gradient of outputs": likelihood_gradient,
            "density against samples": likelihood_density, "control": likelihood_constant,
        },
        ("parameters_per_point", "encoder_input", "constrain", "unconstrain"),
    ),
    "model": Kind(
        lambda spec, components: build(spec(components), DATA, (1, 2, 2)), points_of, log_terms, 0, 3,
        {
            "shapes": model_shapes, "metrics of its own": model_metrics, "gradients": model_gradients,
            "points are independent": points_are_independent, "saved and loaded": saving_loses_nothing,
            ADDS_UP: model_likelihood,
        },
        called="log-densities",
    ),
}  # fmt: skip
