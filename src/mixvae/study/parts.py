"""The parts a run is put together from: priors, flows, networks, likelihoods, training and evaluation settings."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from mixvae.study.base import Frozen, PositiveReal, Real, Sizes, named

Count = Annotated[int, Field(ge=1)]
Layers = Annotated[
    tuple[Annotated[tuple[Count, Count, Count], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)], ...],
    BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v),
    Field(min_length=1),
]
"""Convolutions as a YAML list of [channels, kernel, stride]."""


class StandardPrior(Frozen):
    """N(0, I)."""

    name: Literal["standard"] = "standard"


class MixturePrior(Frozen):
    """A learnt mixture of `components` diagonal Gaussians."""

    name: Literal["mog"]
    components: Count = 500


class VampPrior(Frozen):
    """The aggregate posterior of `components` learnt pseudo-inputs (Tomczak & Welling, 2018)."""

    name: Literal["vamp"]
    components: Count = 500


class ConditionalPrior(Frozen):
    """The prior that belongs to a clustering model: one Gaussian per category."""

    name: Literal["conditional"] = "conditional"


class NoFlow(Frozen):
    """The posterior's components stay Gaussian."""

    name: Literal["none"] = "none"


class InverseAutoregressiveFlow(Frozen):
    """`steps` inverse autoregressive steps shared by all components (Kingma et al., 2016).

    The order of the dimensions is the natural one in every step, as in the Mixture-VAE paper, or turned round every other step.
    """

    later = ("order",)

    name: Literal["iaf"]
    steps: Count = 2
    hidden: Sizes = (320, 320)
    order: Literal["natural", "alternating"] = "natural"


class CouplingFlow(Frozen):
    """`steps` affine coupling layers, a flow of its own for every component (Dinh et al., 2017)."""

    name: Literal["coupling"]
    steps: Count = 4
    hidden: Sizes = (64, 64)


class SplineFlow(Frozen):
    """`steps` rational-quadratic coupling layers of `bins` bins, a flow of its own for every component (Durkan et al., 2019)."""

    name: Literal["spline"]
    steps: Count = 4
    hidden: Sizes = (64, 64)
    bins: Annotated[int, Field(ge=2)] = 8


class MLP(Frozen):
    """Dense layers of the given widths."""

    name: Literal["mlp"] = "mlp"
    hidden: Sizes = (300, 300)
    activation: Literal["gated", "relu"] = "gated"
    dropout: Annotated[Real, Field(ge=0, lt=1)] = 0.0


class Conv(Frozen):
    """Convolutions, each [channels, kernel, stride], flattened at the end."""

    name: Literal["conv"]
    layers: Layers = ((32, 7, 1), (32, 3, 2), (64, 5, 1), (64, 3, 2), (6, 3, 1))
    activation: Literal["gated", "relu"] = "gated"


class Deconv(Frozen):
    """The mirror image of a `conv` encoder with these layers: a dense layer, then transposed convolutions from last to first."""

    name: Literal["deconv"]
    layers: Layers = ((32, 4, 2), (64, 4, 2), (128, 4, 2))
    activation: Literal["gated", "relu"] = "relu"


class PixelCNN(Frozen):
    """`layers` masked 3x3 convolutions of `channels` channels over x and one plane made from each z (van den Oord et al., 2016)."""

    name: Literal["pixelcnn"]
    layers: Annotated[int, Field(ge=2)] = 8
    channels: Count = 64


class _Likelihood(Frozen):
    """What the rest of the library asks a likelihood's settings.

    kinds: The kinds of data it is a distribution of.
    measure: What its numbers are of; only likelihoods of the same compare.
    binary: It is of points that were binarised.
    discrete: It gives probabilities of levels, so bits per dimension mean something.
    squared_errors: Its reconstructions are judged by their squared error.
    """

    kinds: ClassVar[tuple[str, ...]]
    measure: ClassVar[str]
    binary: ClassVar[bool] = False
    discrete: ClassVar[bool] = False
    squared_errors: ClassVar[bool] = False

    @property
    def of_control(self) -> _Likelihood | None:
        """The likelihood of the constant predictor that a model with this one is held against; None where there is none."""
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
    """Counts that get lost."""

    kinds, measure = ("counts",), "counts"

    name: Literal["zinb"] = "zinb"

    @property
    def of_control(self) -> NegativeBinomial:
        """Without inflation, since a constant has nothing to lose."""
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
    discrete = True

    name: Literal["logistics"] = "logistics"
    mixtures: Count = 3


class Density(_Likelihood):
    """No data to be likely: the posterior is fitted to the density that the data set names."""

    kinds, measure = ("density",), "a density"

    name: Literal["density"] = "density"

    @property
    def of_control(self) -> None:
        """A density that is known needs no control."""


class Training(Frozen):
    """Adam, linear KL warm-up over `warmup` epochs, early stopping after `patience` epochs without improvement.

    The objective is the bound with `samples` importance samples per component: 1 is MISELBO, more the IWAE bound.
    `points` trains on that many training points only; `flip` mirrors every other image left to right, at random.
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
    """`samples` importance samples per component and test point; probes fitted on at most `probe_points` training points.

    `points` evaluates on that many test points only.
    """

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
