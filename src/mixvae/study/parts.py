"""This file has the settings of the parts of a run: priors, flows, networks, likelihoods, training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from mixvae.study.base import Frozen, PositiveReal, Real, Sizes, from_list, named
from mixvae.study.layers import feature_shapes

Count = Annotated[int, Field(ge=1)]
Layers = Annotated[tuple[Annotated[tuple[Count, Count, Count], from_list], ...], from_list, Field(min_length=1)]
"""Convolutions as a YAML list of [channels, kernel, stride]."""


class _Prior(Frozen):
    """The settings of a prior, with facts about it that other rooms ask for.

    pseudo_inputs: Whether it consists of the posteriors of learnt inputs, which pass the encoder in every step.
    """

    pseudo_inputs: ClassVar[bool] = False


class StandardPrior(_Prior):
    """N(0, I)."""

    name: Literal["standard"] = "standard"


class MixturePrior(_Prior):
    """A learnt mixture of `components` diagonal Gaussians."""

    name: Literal["mog"]
    components: Count = 500


class VampPrior(_Prior):
    """The aggregate posterior of `components` learnt pseudo-inputs (Tomczak & Welling, 2018)."""

    pseudo_inputs = True

    name: Literal["vamp"]
    components: Count = 500


class ConditionalPrior(_Prior):
    """The prior of a clustering model: one Gaussian per category."""

    name: Literal["conditional"] = "conditional"


class _Flow(Frozen):
    """The settings of a flow, with facts about it that other rooms ask for.

    is_identity: Whether it changes nothing.
    """

    is_identity: ClassVar[bool] = False

    def problem(self, latent: int) -> str | None:
        """Return why these settings do not fit codes of `latent` numbers, beginning with the key; None if they fit."""
        return None


class NoFlow(_Flow):
    """There is no flow: the posterior's components stay Gaussian."""

    is_identity = True

    name: Literal["none"] = "none"


class InverseAutoregressiveFlow(_Flow):
    """`steps` inverse autoregressive steps shared by all components (Kingma et al., 2016).

    The order of the dimensions is natural in every step, as in the Mixture-VAE paper, or is reversed in every other step.
    """

    later = ("order",)

    name: Literal["iaf"]
    steps: Count = 2
    hidden: Sizes = (320, 320)
    order: Literal["natural", "alternating"] = "natural"

    def problem(self, latent: int) -> str | None:
        """A masked network (MADE) that is too narrow cannot tell all dimensions apart."""
        if min(self.hidden, default=0) >= latent - 1:
            return None
        needed = f"a MADE needs at least {latent - 1}"
        return f"flow.hidden: {list(self.hidden)} is too narrow for latent: {latent}; {needed}"


class CouplingFlow(_Flow):
    """`steps` affine coupling layers; every component has a flow of its own (Dinh et al., 2017)."""

    name: Literal["coupling"]
    steps: Count = 4
    hidden: Sizes = (64, 64)


class SplineFlow(_Flow):
    """`steps` coupling layers of rational-quadratic splines; every component has a flow of its own (Durkan et al., 2019)."""

    name: Literal["spline"]
    steps: Count = 4
    hidden: Sizes = (64, 64)
    bins: Annotated[int, Field(ge=2)] = 8


class _Network(Frozen):
    """The settings of a network, with facts about it that other rooms ask for.

    for_images: Whether the points must be images.
    autoregressive: Whether it decodes each pixel from those before it, so that it draws x and has no mean.
    cost: Roughly how many times longer it takes than an MLP of the paper's size.
    component_mb: Memory in MB that it takes per component, beyond that of an MLP.
    """

    for_images: ClassVar[bool] = False
    autoregressive: ClassVar[bool] = False
    cost: ClassVar[int] = 1
    component_mb: ClassVar[int] = 0

    def shapes(self, shape: Sequence[int]) -> list[tuple[int, int, int]]:
        """Return (channels, height, width) of an image and of the feature maps that strided convolutions make of it.

        A network without such layers returns the image's shape alone. Raises UserError when nothing is left of the image.
        """
        return [tuple(shape)]


class MLP(_Network):
    """Dense layers of the given widths."""

    name: Literal["mlp"] = "mlp"
    hidden: Sizes = (300, 300)
    activation: Literal["gated", "relu"] = "gated"
    dropout: Annotated[Real, Field(ge=0, lt=1)] = 0.0


class _Strided(_Network):
    """A network of strided layers [channels, kernel, stride], which make an image smaller in `conv` and larger in `deconv`."""

    for_images, cost = True, 10

    def shapes(self, shape: Sequence[int]) -> list[tuple[int, int, int]]:
        return feature_shapes(shape, self.layers)


class Conv(_Strided):
    """Convolutions, each [channels, kernel, stride], flattened at the end."""

    name: Literal["conv"]
    layers: Layers = ((32, 7, 1), (32, 3, 2), (64, 5, 1), (64, 3, 2), (6, 3, 1))
    activation: Literal["gated", "relu"] = "gated"


class Deconv(_Strided):
    """The mirror image of a `conv` with these layers: a dense layer, then transposed convolutions from last to first."""

    name: Literal["deconv"]
    layers: Layers = ((32, 4, 2), (64, 4, 2), (128, 4, 2))
    activation: Literal["gated", "relu"] = "relu"


class PixelCNN(_Network):
    """`layers` masked 3x3 convolutions of `channels` channels over x and a plane for each z (van den Oord et al., 2016)."""

    for_images = autoregressive = True
    cost, component_mb = 60, 500

    name: Literal["pixelcnn"]
    layers: Annotated[int, Field(ge=2)] = 8
    channels: Count = 64


class _Likelihood(Frozen):
    """The settings of a likelihood, with facts about it that other rooms ask for.

    kinds: The kinds of data that it fits.
    measure: The values that it is a distribution of; only likelihoods with the same measure can be compared.
    binary: Whether it is a distribution of binarised points.
    discrete: Whether it gives probabilities and not densities, so that bits per dimension have a meaning.
    squared_errors: Whether its reconstructions are judged by their squared error.
    has_constant: Whether one output for all points can be fitted in closed form; else the control is a histogram of levels.
    """

    kinds: ClassVar[tuple[str, ...]]
    measure: ClassVar[str]
    binary: ClassVar[bool] = False
    discrete: ClassVar[bool] = False
    squared_errors: ClassVar[bool] = False
    has_constant: ClassVar[bool] = True

    @property
    def of_control(self) -> _Likelihood | None:
        """The likelihood of the control for models with this likelihood; None where there is no control."""
        return self


class Bernoulli(_Likelihood):
    """Binarised pixels."""

    kinds, measure = ("grey_image",), "binary pixels"
    binary = discrete = True

    name: Literal["bernoulli"] = "bernoulli"


class NegativeBinomial(_Likelihood):
    """Counts with a dispersion per gene."""

    kinds, measure = ("counts",), "counts"

    name: Literal["nb"] = "nb"


class ZeroInflatedNegativeBinomial(_Likelihood):
    """Counts with a dispersion per gene, where some counts are lost and read as 0."""

    kinds, measure = ("counts",), "counts"

    name: Literal["zinb"] = "zinb"

    @property
    def of_control(self) -> NegativeBinomial:
        """The control is without zero inflation."""
        return NegativeBinomial()


class Gaussian(_Likelihood):
    """Real values, or grey and colour levels as numbers in [0, 1], with one fixed standard deviation."""

    kinds, measure = ("grey_image", "colour_image", "real"), "real numbers"
    squared_errors = True

    name: Literal["gaussian"] = "gaussian"
    std: PositiveReal = 0.1


class Logistics(_Likelihood):
    """8-bit colours: a discretised mixture of logistics, autoregressive over the channels (Salimans et al., 2017)."""

    kinds, measure = ("colour_image",), "256 levels"
    discrete, has_constant = True, False

    name: Literal["logistics"] = "logistics"
    mixtures: Count = 3


class Density(_Likelihood):
    """There is no likelihood of data: the posterior is fitted to the density that the data set names."""

    kinds, measure = ("density",), "a density"

    name: Literal["density"] = "density"

    @property
    def of_control(self) -> None:
        """A known density needs no control."""


class Training(Frozen):
    """Adam, linear KL warm-up over `warmup` epochs, early stopping after `patience` epochs without improvement.

    The objective is the bound with `samples` importance samples per component: MISELBO for 1, the IWAE bound for more.
    With `points`, only that many training points are used; with `flip`, each image is mirrored with probability 1/2.
    """

    later = ("flip",)

    learning_rate: PositiveReal = 5e-4
    batch_size: Count = 100
    epochs: Count = 4000
    warmup: Annotated[int, Field(ge=0)] = 100
    patience: Count = 100
    samples: Count = 1
    points: Count | None = None
    flip: bool = False

    @model_validator(mode="after")
    def _warmup_ends(self) -> Training:
        if self.warmup > self.epochs:
            raise ValueError(f"warmup of {self.warmup} epochs never ends within epochs: {self.epochs}; lower warmup")
        return self


class Evaluation(Frozen):
    """`samples` importance samples per component and test point; probes are fitted on at most `probe_points` training points.

    With `points`, only that many test points are used. `of_rule` has the settings that each measuring rule depends on.
    """

    of_rule: ClassVar[dict[str, set[str]]] = {"evaluate": {"samples", "points"}, "latents": {"probe_points", "points"}}

    samples: Count = 5000
    probe_points: Count = 5000
    points: Count | None = None

    @model_validator(mode="after")
    def _enough_for_pareto(self) -> Evaluation:
        if self.samples < 25:
            raise ValueError(f"samples: {self.samples} is too few for an importance-weighted likelihood; use 25 or more")
        return self


def choice(union, read=named):
    return Annotated[Annotated[union, Field(discriminator="name")], BeforeValidator(read)]


def _network(value: Any) -> Any:
    """Read ``{hidden: [64]}`` as an MLP."""
    return {"name": "mlp", **value} if isinstance(value, dict) else named(value)


Prior = choice(StandardPrior | MixturePrior | VampPrior)
Flow = choice(NoFlow | InverseAutoregressiveFlow | CouplingFlow | SplineFlow)
Encoder = choice(MLP | Conv, _network)
Decoder = choice(MLP | Deconv | PixelCNN, _network)
Likelihood = choice(Bernoulli | NegativeBinomial | ZeroInflatedNegativeBinomial | Gaussian | Logistics)
DenseNetwork = Annotated[MLP, BeforeValidator(named)]
