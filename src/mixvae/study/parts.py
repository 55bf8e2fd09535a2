"""This file has the settings of the parts of a run: priors, flows, networks, likelihoods, training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, WrapValidator, model_validator

from mixvae.study.base import Frozen, PositiveReal, Real, Sizes, from_list, named
from mixvae.study.kinds import FlowSettings, LikelihoodSettings, NetworkSettings, PriorSettings
from mixvae.study.layers import feature_shapes
from mixvae.study.own_parts import OwnDecoder, OwnEncoder, OwnFlow, OwnLikelihood, OwnPart, OwnPrior

Count = Annotated[int, Field(ge=1)]
Layers = Annotated[tuple[Annotated[tuple[Count, Count, Count], from_list], ...], from_list, Field(min_length=1)]
"""Convolutions as a YAML list of [channels, kernel, stride]."""


class StandardPrior(PriorSettings):
    """N(0, I)."""

    name: Literal["standard"] = "standard"


class MixturePrior(PriorSettings):
    """A learnt mixture of `components` diagonal Gaussians."""

    name: Literal["mog"]
    components: Count = 500


class VampPrior(PriorSettings):
    """The aggregate posterior of `components` learnt pseudo-inputs (Tomczak & Welling, 2018)."""

    pseudo_inputs = True

    name: Literal["vamp"]
    components: Count = 500


class ConditionalPrior(PriorSettings):
    """The prior of a clustering model: one Gaussian per category."""

    name: Literal["conditional"] = "conditional"


class NoFlow(FlowSettings):
    """There is no flow: the posterior's components stay Gaussian."""

    is_identity = True

    name: Literal["none"] = "none"


class InverseAutoregressiveFlow(FlowSettings):
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


class CouplingFlow(FlowSettings):
    """`steps` affine coupling layers; every component has a flow of its own (Dinh et al., 2017)."""

    name: Literal["coupling"]
    steps: Count = 4
    hidden: Sizes = (64, 64)


class SplineFlow(FlowSettings):
    """`steps` coupling layers of rational-quadratic splines; every component has a flow of its own (Durkan et al., 2019)."""

    name: Literal["spline"]
    steps: Count = 4
    hidden: Sizes = (64, 64)
    bins: Annotated[int, Field(ge=2)] = 8


class MLP(NetworkSettings):
    """Dense layers of the given widths."""

    name: Literal["mlp"] = "mlp"
    hidden: Sizes = (300, 300)
    activation: Literal["gated", "relu"] = "gated"
    dropout: Annotated[Real, Field(ge=0, lt=1)] = 0.0


class _Strided(NetworkSettings):
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


class PixelCNN(NetworkSettings):
    """`layers` masked 3x3 convolutions of `channels` channels over x and a plane for each z (van den Oord et al., 2016)."""

    for_images = autoregressive = True
    cost, component_mb = 60, 500

    name: Literal["pixelcnn"]
    layers: Annotated[int, Field(ge=2)] = 8
    channels: Count = 64


class Bernoulli(LikelihoodSettings):
    """Binarised pixels."""

    kinds, measure = ("grey_image",), "binary pixels"
    binary = discrete = True

    name: Literal["bernoulli"] = "bernoulli"


class NegativeBinomial(LikelihoodSettings):
    """Counts with a dispersion per gene."""

    kinds, measure = ("counts",), "counts"

    name: Literal["nb"] = "nb"


class ZeroInflatedNegativeBinomial(LikelihoodSettings):
    """Counts with a dispersion per gene, where some counts are lost and read as 0."""

    kinds, measure = ("counts",), "counts"

    name: Literal["zinb"] = "zinb"

    @property
    def of_control(self) -> NegativeBinomial:
        """The control is without zero inflation."""
        return NegativeBinomial()


class Gaussian(LikelihoodSettings):
    """Real values, or grey and colour levels as numbers in [0, 1], with one fixed standard deviation."""

    kinds, measure = ("grey_image", "colour_image", "real"), "real numbers"
    squared_errors = True

    name: Literal["gaussian"] = "gaussian"
    std: PositiveReal = 0.1


class Logistics(LikelihoodSettings):
    """8-bit colours: a discretised mixture of logistics, autoregressive over the channels (Salimans et al., 2017)."""

    kinds, measure = ("colour_image",), "256 levels"
    discrete, has_constant = True, False

    name: Literal["logistics"] = "logistics"
    mixtures: Count = 3


class Density(LikelihoodSettings):
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


class Annealing(Frozen):
    """Annealed importance sampling of at most `points` test points, by `chains` over `temperatures` for each.

    What takes longer, such as the gaps between bound and likelihood, is measured on at most `gap_points` of these points.
    """

    points: Count = 1000
    chains: Annotated[int, Field(ge=2)] = 16
    temperatures: Count = 50
    gap_points: Count = 200


def unless_none(value: Any) -> Any:
    """Return a value, None for the word none. Raises ValueError for another word."""
    if isinstance(value, str) and value != "none":
        raise ValueError("expected a mapping with points, chains, temperatures and gap_points, or none")
    return None if value == "none" else value


class Evaluation(Frozen):
    """`samples` importance samples per component and test point; probes are fitted on at most `probe_points` training points.

    With `points`, only that many test points are used. `ais: none` leaves out annealed importance sampling. `of_rule` has the
    settings that each measuring rule depends on.
    """

    of_rule: ClassVar[dict[str, set[str]]] = {
        "evaluate": {"samples", "points"},
        "bracket": {"ais", "points"},
        "latents": {"probe_points", "points"},
    }

    samples: Count = 5000
    probe_points: Count = 5000
    points: Count | None = None
    ais: Annotated[Annealing | None, BeforeValidator(unless_none)] = Annealing()

    @model_validator(mode="after")
    def _enough_for_pareto(self) -> Evaluation:
        if self.samples < 25:
            raise ValueError(f"samples: {self.samples} is too few for an importance-weighted likelihood; use 25 or more")
        return self


def choice(union, own: type[OwnPart], read: Callable[[Any], Any] = named):
    """Return the type of a part: one of the library's by its name, or of a user's own file."""

    def part(value: Any, of_library: Callable[[Any], Any]) -> Any:
        if isinstance(value, own) or (isinstance(value, dict) and "sha256" in value):
            return own.model_validate(value)
        return of_library(read(value))

    return Annotated[SerializeAsAny[Annotated[union, Field(discriminator="name")]], WrapValidator(part)]


def _network(value: Any) -> Any:
    """Read ``{hidden: [64]}`` as an MLP."""
    return {"name": "mlp", **value} if isinstance(value, dict) else named(value)


Prior = choice(StandardPrior | MixturePrior | VampPrior, OwnPrior)
AnyPrior = choice(StandardPrior | MixturePrior | VampPrior | ConditionalPrior, OwnPrior)
"""The prior of a model of a user's own."""
Flow = choice(NoFlow | InverseAutoregressiveFlow | CouplingFlow | SplineFlow, OwnFlow)
Encoder = choice(MLP | Conv, OwnEncoder, _network)
Decoder = choice(MLP | Deconv | PixelCNN, OwnDecoder, _network)
Likelihood = choice(Bernoulli | NegativeBinomial | ZeroInflatedNegativeBinomial | Gaussian | Logistics, OwnLikelihood)
DenseNetwork = Annotated[MLP, BeforeValidator(named)]
