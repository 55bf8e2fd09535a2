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

Check = Callable[[], None]
OFFERS = "what it offers"
FIRST = (OFFERS, "shapes")
"""Checks without which the others say nothing."""


class Kind(NamedTuple):
    """How the parts of one kind are tried.

    make: Builds the module of settings for a number of components.
    inputs: The inputs of `value` for a number of components; its axis `batch` is over points.
    value: What the module computes of inputs, (..., B, ...).
    axis: The axis of `value` that is over points.
    special: The checks of this kind alone, of settings.
    offers: The attributes that the module must have.
    """

    make: Callable[[Any, int], nn.Module]
    inputs: Callable[[Any, int], Tensor]
    value: Callable[[nn.Module, Tensor], Tensor]
    batch: int
    axis: int
    special: dict[str, Callable[[Any], None]]
    offers: tuple[str, ...]


def checks(kind: str, settings: Any) -> dict[str, Check]:
    """Return the checks of a part by name.

    Arguments:
        kind: "prior", "flow", "encoder", "decoder", "likelihood" or "model".
        settings: The part's settings; for a model, the spec of a run by its number of components.
    """
    if kind == "model":
        discrete = settings(1).likelihood.binary
        return {name: partial(check, settings) for name, check in MODEL_CHECKS.items() if discrete or name != OF_BINARY_IMAGES}
    special = {name: partial(check, settings) for name, check in KINDS[kind].special.items()}
    general = {name: partial(check, KINDS[kind], settings) for name, check in GENERAL.items()}
    return {OFFERS: partial(everything_is_there, KINDS[kind], settings), "shapes": special.pop("shapes")} | general | special


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


def moved(module: Any) -> Any:
    """Return a module with its parameters moved off their initial values, where zeros and equal components hide mistakes."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return module


def expect_gradients(module: nn.Module, value: Tensor) -> None:
    """Raise UserError unless every parameter gets a finite gradient of a value."""
    value.sum().backward()
    for name, parameter in module.named_parameters():
        expect(parameter.grad is not None, f"parameter {name} gets no gradient")
        expect(bool(parameter.grad.isfinite().all()), f"the gradient of parameter {name} is not finite")


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Return standard normals that are the same in every process."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- checks of every part but models


def everything_is_there(kind: Kind, settings: Any) -> None:
    """The module has the attributes and methods of its kind; docs/extending.md and the library's own parts say what they are."""
    module = kind.make(settings, K)
    missing = [name for name in kind.offers if not hasattr(module, name)]
    expect(not missing, f"Module has no {' and no '.join(missing)}; the parts of this kind have {', '.join(kind.offers)}")


def no_gradient_is_missing(kind: Kind, settings: Any) -> None:
    """Every parameter gets a finite gradient."""
    module = moved(kind.make(settings, K)).train()
    if list(module.parameters()):
        expect_gradients(module, kind.value(module, kind.inputs(settings, K)))


def points_are_independent(kind: Kind, settings: Any) -> None:
    """What is computed of a point does not depend on the points beside it."""
    module, inputs = moved(kind.make(settings, K)).eval(), kind.inputs(settings, K)
    every = kind.value(module, inputs).narrow(kind.axis, 0, 2)
    expect_near("values of two points, alone and among others,", kind.value(module, inputs.narrow(kind.batch, 0, 2)), every)


def float64_is_kept(kind: Kind, settings: Any) -> None:
    """In float64 it computes in float64, and float32 is near."""
    module, inputs = moved(kind.make(settings, K)).eval(), kind.inputs(settings, K)
    single, double = kind.value(module, inputs), kind.value(module.double(), inputs.double())
    expect(double.dtype == torch.float64, f"of float64 it makes {double.dtype}")
    expect_near("values in float32 and float64", single.double(), double, NEAR)


def one_component_is_enough(kind: Kind, settings: Any) -> None:
    """It can be built for K = 1."""
    module, inputs = moved(kind.make(settings, 1)).eval(), kind.inputs(settings, 1)
    expect(bool(kind.value(module, inputs).isfinite().all()), "with K = 1 its values are not finite")


def saving_loses_nothing(kind: Kind, settings: Any) -> None:
    """A module that gets the saved state of another computes the same."""
    module, again = moved(kind.make(settings, K)), kind.make(settings, K)
    weights = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    again.load_state_dict(load(save(weights)))
    inputs = kind.inputs(settings, K)
    expect_near(
        "values before and after saving", kind.value(again.eval(), inputs), kind.value(module.eval(), inputs), tolerance=0.0
    )


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
    torch.manual_seed(0)
    points = torch.rand(20, math.prod(IMAGE))
    return priors.build(settings, Z, lambda most: points[:most], likelihood(parts.Bernoulli(), IMAGE))


def prior_shapes(settings: Any) -> None:
    """Densities of (L, K, B, Z) are (L, K, B), samples of n points (n, Z)."""
    prior = moved(make_prior(settings, K))
    found = prior(encode, torch.float32)
    expect(isinstance(found, Distribution), f"forward gives a {type(found).__name__}, expected a torch Distribution")
    expect_shape("log_prob of (L, K, B, Z)", found.log_prob(noise(L, K, B, Z)), "L, K, B", L, K, B)
    expect_shape("sample((n,))", found.sample((7,)), "n, Z", 7, Z)
    number = prior.gaussians(K)
    expect(isinstance(number, int) and number >= 1, f"gaussians(K) is {number!r}, expected a number from 1")


def prior_precision(settings: Any) -> None:
    """A prior that is asked for float64 computes its density in float64."""
    prior, z = moved(make_prior(settings, K)), noise(B, Z)
    single, double = (prior(encode, dtype).log_prob(z) for dtype in (torch.float32, torch.float64))
    expect(double.dtype == torch.float64, f"asked for float64 it computes {double.dtype}")
    expect_near("densities in float32 and float64", single.double(), double, NEAR)


def prior_density(settings: Any) -> None:
    """The density is normalised, and that of the samples."""
    found = moved(make_prior(settings, K))(encode, torch.float64)
    with torch.no_grad():
        density_is_that_of_samples("the density", found.sample((DRAWS,)), found.log_prob)


# --- flows


def make_flow(settings: Any, components: int) -> nn.Module:
    torch.manual_seed(0)
    return flows.build(settings, components, Z)


def flow_shapes(settings: Any) -> None:
    """See `mixvae.distributions.flows.Pushed`."""
    flow = moved(make_flow(settings, K))
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


def flow_inverse(settings: Any) -> None:
    """Base points are those that were pushed, and `inverse` finds them again."""
    flow, z = moved(make_flow(settings, K)).eval().double(), noise(L, K, B, Z).double()
    with torch.no_grad():
        pushed = flow.push(z)
        expect_near("points, and the base points of what they were pushed to,", _own(pushed.base, flow.distinct), z, NEAR)
        flat = pushed.z.reshape(1, -1, Z).expand(flow.distinct, -1, -1)
        base, log_det = flow.inverse(flat)
        expect_near("base points by push and by inverse", base.reshape(pushed.base.shape), pushed.base, NEAR)
        expect_near(
            "log|det dz/dbase|, which both push and inverse give,", log_det.reshape(pushed.log_det.shape), pushed.log_det, NEAR
        )


def flow_determinant(settings: Any) -> None:
    """log|det dz/dbase| is that of the Jacobian by automatic differentiation."""
    flow, z = moved(make_flow(settings, K)).eval().double(), noise(1, K, 1, Z).double()
    for k in range(K):

        def pushed(own: Tensor, k: int = k) -> Tensor:
            everything = z.clone()
            everything[0, k, 0] = own
            return flow.push(everything).z[0, k, 0]

        exact = jacobian(pushed, z[0, k, 0]).double().slogdet()[1]
        said = _own(flow.push(z).log_det, flow.distinct)[0, k, 0].detach().double()
        expect_near(f"log|det| of component {k + 1} and that of the Jacobian", said, exact, NEAR)


def flow_aggregate(settings: Any) -> None:
    """The prior that it makes of posteriors is normalised, and that of its samples; a shared flow makes it of base Gaussians."""
    flow, mean, log_var = moved(make_flow(settings, K)).eval(), noise(K, 4, Z), torch.zeros(K, 4, Z)
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


def make_encoder(settings: Any, components: int) -> nn.Module:
    torch.manual_seed(0)
    return features(settings, components, IMAGE)[0]


def encoder_shapes(settings: Any) -> None:
    """(B, D) gives (K, B, F)."""
    torch.manual_seed(0)
    network, F = features(settings, K, IMAGE)
    expect(isinstance(F, int) and F >= 1, f"features is {F!r}, expected a number from 1")
    expect_shape("the encoding of (B, D)", network(noise(B, math.prod(IMAGE))), "K, B, F", K, B, F)


def encoder_components(settings: Any) -> None:
    """(K, B, D), an input for each component, gives (K, B, F) too, and no component reads the input of another."""
    network, x = moved(make_encoder(settings, K)).eval(), noise(K, B, math.prod(IMAGE))
    _, F = features(settings, K, IMAGE)
    expect_shape("the encoding of (K, B, D)", network(x), "K, B, F", K, B, F)
    other = x.clone()
    other[0] = 0
    expect_near("encodings by component 2, whatever component 1 reads,", network(other)[1], network(x)[1])


def make_decoder(settings: Any, components: int) -> nn.Module:
    torch.manual_seed(0)
    return decoder(settings, (Z,), IMAGE, math.prod(IMAGE))


def decode(network: nn.Module, inputs: Tensor) -> Tensor:
    """Decode codes (B, Z), which stand beside the points that an autoregressive decoder reads, as (B, P)."""
    return network([inputs[None, :, :Z]], inputs[:, Z:])[0]


def decoder_shapes(settings: Any) -> None:
    """Codes of (L, K, B, Z) give (L, K, B, P)."""
    network = moved(make_decoder(settings, K))
    P = math.prod(IMAGE)
    expect(isinstance(network.width, int) and network.width >= 1, f"width is {network.width!r}, expected a number from 1")
    found = network([noise(L, K, B, Z)], (noise(B, P) > 0).float())
    expect_shape("the decoding of (L, K, B, Z)", found, "L, K, B, P", L, K, B, P)


# --- likelihoods


def shape_of(settings: Any) -> tuple[int, ...]:
    """Return the smallest shape of a kind of data that a likelihood fits."""
    return next(SHAPES[kind] for kind in settings.kinds if kind in SHAPES)


def make_likelihood(settings: Any, components: int) -> nn.Module:
    torch.manual_seed(0)
    return likelihood(settings, shape_of(settings))


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
    return torch.cat([0.5 * noise(B, make_likelihood(settings, K).parameters_per_point), x], dim=1)


def log_likelihood(module: nn.Module, inputs: Tensor) -> Tensor:
    P = module.parameters_per_point
    return module(inputs[:, :P], inputs[:, P:]).log_prob(inputs[:, P:])


def likelihood_shapes(settings: Any) -> None:
    """Outputs of (L, K, B, P) give densities (L, K, B) and means (L, K, B, D)."""
    module, x = moved(make_likelihood(settings, K)), data_for(settings, B)
    found = module(0.5 * noise(L, K, B, module.parameters_per_point), x)
    expect_shape("log_prob of (B, D) at (L, K, B, P)", found.log_prob(x), "L, K, B", L, K, B)
    expect_shape("the mean at (L, K, B, P)", found.mean, "L, K, B, D", L, K, B, x.shape[1])
    read = module.encoder_input(x)
    expect_shape("encoder_input of (B, D)", read, "B, D", *x.shape)
    expect_shape(
        "constrain(unconstrain(.)) of an encoder's inputs", module.constrain(module.unconstrain(read)), "B, D", *x.shape
    )


def likelihood_gradient(settings: Any) -> None:
    """The decoder's outputs get a finite gradient."""
    module, x = moved(make_likelihood(settings, K)), data_for(settings, B)
    h = (0.5 * noise(B, module.parameters_per_point)).requires_grad_()
    module(h, x).log_prob(x).sum().backward()
    expect(h.grad is not None and bool(h.grad.isfinite().all()), "the gradient of a decoder's output is missing or not finite")


def likelihood_density(settings: Any) -> None:
    """Densities or probabilities are normalised, and those of the samples."""
    module, x = moved(make_likelihood(settings, K)), data_for(settings, 1)
    h = (0.5 * noise(1, module.parameters_per_point)).double()
    with torch.no_grad():
        found = module.double()(h, x.double())
        drawn = found.sample((DRAWS,))[:, 0]
        if settings.discrete or "counts" in settings.kinds:
            probability_is_that_of_samples("the probability", drawn, found.log_prob)
        else:
            # given the samples as points, too: a density that reads its own point may predict it
            density_is_that_of_samples("the density", drawn, module(h.expand(len(drawn), -1), drawn).log_prob)


def likelihood_constant(settings: Any) -> None:
    """The control's output is one for all points, (P,); a likelihood that has none says so by `has_constant`."""
    if settings.has_constant and settings.of_control == settings:
        module = moved(make_likelihood(settings, K))
        expect_shape("constant of (N, D)", module.constant(data_for(settings, 50)), "P", module.parameters_per_point)


KINDS = {
    "prior": Kind(
        make_prior, lambda settings, components: noise(B, Z), lambda prior, z: prior(encode, z.dtype).log_prob(z), 0, 0,
        {"shapes": prior_shapes, "asked for float64": prior_precision, "density against samples": prior_density},
        ("gaussians",),
    ),
    "flow": Kind(
        make_flow, lambda settings, components: noise(L, components, B, Z), lambda flow, z: sum(flow.push(z).log_det) + flow.push(z).z.sum(-1), 2, 2,
        {"shapes": flow_shapes, "inverse": flow_inverse, "determinant": flow_determinant, "aggregate": flow_aggregate},
        ("distinct", "is_identity", "push", "inverse", "aggregate"),
    ),
    "encoder": Kind(
        make_encoder, lambda settings, components: noise(B, math.prod(IMAGE)), lambda network, x: network(x), 0, 1,
        {"shapes": encoder_shapes, "inputs of each component (K, B, D)": encoder_components},
        (),
    ),
    "decoder": Kind(
        make_decoder, lambda settings, components: (noise(B, Z + math.prod(IMAGE)) > 0).float(), decode, 0, 0,
        {"shapes": decoder_shapes},
        ("width",),
    ),
    "likelihood": Kind(
        make_likelihood, outputs_and_points, log_likelihood, 0, 0,
        {
            "shapes": likelihood_shapes, "gradient of outputs": likelihood_gradient,
            "density against samples": likelihood_density, "control": likelihood_constant,
        },
        ("parameters_per_point", "encoder_input", "constrain", "unconstrain"),
    ),
}  # fmt: skip


# --- models: `spec` gives the spec of a run by its number of components

Spec = Callable[[int], Run]


def make_model(spec: Run) -> tuple[Any, Tensor]:
    """Return a model that was built from points, and these, as a binarised model sees them."""
    shape = (1, 2, 2)
    x = torch.rand(30, 4, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(0)
    return moved(build(spec, x, shape)), x[:B].round() if spec.likelihood.binary else x[:B]


def terms_of(model: Any, x: Tensor, draws: int, dtype: torch.dtype = torch.float32) -> Any:
    """Return the log-densities of x (B, D), each point's from noise of its own."""
    drawn = noise(draws, model.sampled_components, B, model.noise_size)[:, :, : len(x)]
    return model.log_terms(x, model.posterior(x), model.prior_distribution(dtype), drawn)


def model_shapes(spec: Spec) -> None:
    """Every method of the contract gives what `mixvae.models.contract` says."""
    for number in (1, K):
        run = spec(number)
        model, x = make_model(run)
        model.requires_grad_(False)
        C, S = model.codes(x)[0].shape[0], model.sampled_components
        for name, found in zip(
            ("log_likelihood", "log_prior", "log_mixture", "log_component"), terms_of(model, x, L), strict=True
        ):
            expect_shape(f"log_terms(.).{name}", found, "L, K, B", L, S, B)
        for name, found in zip(
            ("value", "reconstruction", "kl"), model.objective(x, 1.0, noise(1, S, B, model.noise_size)), strict=True
        ):
            expect_shape(f"objective(.).{name}", found, "B", B)
        mean, std = model.codes(x)
        expect_shape("codes(x)[0]", mean, "components, B, Z", C, B, mean.shape[2])
        expect_shape("codes(x)[1]", std, "components, B, Z", *mean.shape)
        expect_shape(
            "expectation(x, noise)",
            model.expectation(x, noise(L, S, B, model.noise_size)),
            "B, latent_units",
            B,
            run.latent_units,
        )
        expect_shape("reconstruct(x)", model.reconstruct(x), "components, B, D", model.reconstruct(x).shape[0], B, 4)
        expect_shape("sample(n)", model.sample(7), "n, D", 7, 4)
        if run.categorises:
            expect_shape("categories(x)", model.categories(x), "B, K", B, number)


def model_metrics(spec: Spec) -> None:
    """It measures the metrics of its own that its settings name."""
    for number in (1, K):
        run = spec(number)
        model, x = make_model(run)
        with torch.inference_mode():
            own_metrics(model.eval(), run, x, "grey_image")


def model_gradients(spec: Spec) -> None:
    """Every parameter gets a finite gradient of the objective."""
    model, x = make_model(spec(K))
    expect_gradients(model, model.train().objective(x, 1.0, noise(1, model.sampled_components, B, model.noise_size)).value)


def model_points(spec: Spec) -> None:
    """A point's log-densities depend on its own noise alone."""
    model, x = make_model(spec(K))
    model.eval()
    with torch.no_grad():
        for one, other in zip(terms_of(model, x[:2], L), terms_of(model, x, L), strict=True):
            expect_near("log-densities of two points, alone and among others,", one, other[..., :2])


def model_saved(spec: Spec) -> None:
    """A model that gets the saved state of another computes the same."""
    model, x = make_model(spec(K))
    again, _ = make_model(spec(K))
    moved(again)
    again.load_state_dict(load(save({name: tensor.contiguous() for name, tensor in model.state_dict().items()})))
    with torch.no_grad():
        for one, other in zip(terms_of(model.eval(), x, L), terms_of(again.eval(), x, L), strict=True):
            expect_near("log-densities before and after saving", one, other, tolerance=0.0)


def model_likelihood(spec: Spec) -> None:
    """Importance-weighted estimates of p(x) add up to 1 over all 16 binary images of 4 pixels."""
    for number in (1, K):
        run = spec(number)
        model, _ = make_model(run)
        model.eval()
        every = torch.tensor(list(product((0.0, 1.0), repeat=4)))
        drawn = noise(2000, model.sampled_components, len(every), model.noise_size)
        with torch.no_grad():
            prior = model.prior_distribution(torch.float64)
            adds_up(
                f"with K = {number},", model.log_terms(every, model.posterior(every), prior, drawn).log_weights().flatten(0, 1)
            )
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


OF_BINARY_IMAGES = "likelihoods add up to 1"
MODEL_CHECKS: dict[str, Callable[[Spec], None]] = {
    "shapes": model_shapes,
    "metrics of its own": model_metrics,
    "gradients": model_gradients,
    "points are independent": model_points,
    "saved and loaded": model_saved,
    OF_BINARY_IMAGES: model_likelihood,
}
