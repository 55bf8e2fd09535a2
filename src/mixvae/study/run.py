"""RunSpec: everything one run depends on, and the id that follows from it."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Union, get_args

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator

from mixvae.errors import UserError
from mixvae.files import canonical_json
from mixvae.study.base import Frozen, PositiveReal, Real, named
from mixvae.study.catalogue import DatasetInfo
from mixvae.study.own_data import OwnData
from mixvae.study.parts import (
    MLP,
    ConditionalPrior,
    Count,
    Decoder,
    DenseNetwork,
    Density,
    Encoder,
    Evaluation,
    Flow,
    Gaussian,
    Likelihood,
    NoFlow,
    Prior,
    StandardPrior,
    Training,
)

MODELS: dict[str, type[Run]] = {}
"""Every system's spec by the system's name; a spec class enters itself when it is defined."""


class Run(Frozen):
    """What all systems share. The class attributes and methods are facts that other rooms ask for; they are no settings and in no id.

    A system is a subclass whose `model` is the system's name, and a file of that name in room models with a class named as the spec's.

    is_control: It ignores its input and has no latent variable.
    has_codes: It encodes points.
    has_data: It is fitted to points, and not to a known density.
    categorises: It sorts the points into K categories.
    posterior_is_mixture: Its posterior is a mixture of K components, each of which draws samples of its own.
    components_are_models: Every component encodes and decodes alone, so that each can be looked at apart.
    named_by_model: Its prior and flow are fixed, so that the model's name says which they are.
    has_category_priors: Every category has a prior of its own, so that categories can be drawn in any proportion.
    """

    is_control: ClassVar[bool] = False
    has_codes: ClassVar[bool] = True
    has_data: ClassVar[bool] = True
    categorises: ClassVar[bool] = False
    posterior_is_mixture: ClassVar[bool] = False
    components_are_models: ClassVar[bool] = False
    named_by_model: ClassVar[bool] = False
    has_category_priors: ClassVar[bool] = False

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        if "model" in cls.model_fields:
            (name,) = get_args(cls.model_fields["model"].annotation)
            MODELS[name] = cls

    dataset: str
    data: OwnData | None = None
    likelihood: Likelihood
    K: Count = 1
    seed: Annotated[int, Field(ge=0)] = 0
    threads: Count = 1

    @property
    def id(self) -> str:
        """Readable slug and 8 hex digits of the sha256 of the canonical spec."""
        digest = hashlib.sha256(self.canonical().encode()).hexdigest()[:8]
        dataset = re.sub(r"[^A-Za-z0-9_]+", "_", self.dataset)
        return f"{dataset}-{self.model}-K{self.K}-{self.prior.name}-{self.flow.name}-s{self.seed}-{digest}"

    def canonical(self) -> str:
        """Return the canonical JSON text of the spec, defaults spelt out."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def group(self) -> str:
        """8 hex digits of the sha256 of all settings but K and seed: runs of one group stand in one column of a table."""
        alike = self.model_copy(update={"K": 1, "seed": 0})
        return hashlib.sha256(alike.canonical().encode()).hexdigest()[:8]

    @property
    def sampled_components(self) -> int:
        """How many components draw importance samples of their own: 1 for a system that draws its component within a sample."""
        return self.K if self.posterior_is_mixture else 1

    def called(self, prior: str, several: bool) -> str:
        """Return what a table's column of such runs is called, before what tells variants apart.

        Arguments:
            prior: What its prior is called.
            several: Whether there are columns of other models beside it.
        """
        if self.named_by_model:
            return self.model
        return f"{self.model} {prior}+{self.flow.name}" if several else f"{prior}+{self.flow.name}"

    @property
    def networks(self) -> tuple[Encoder | Decoder, ...]:
        """The encoder and the decoder, of what has them."""
        return ()

    @property
    def latent_units(self) -> int:
        """The dimension of E[z | x]."""
        return 0

    @property
    def training_points(self) -> int | None:
        """How many training points it is fitted to at most; None for all."""
        return None

    @property
    def test_points(self) -> int | None:
        """How many test points it is measured on at most; None for all."""
        return None

    @property
    def importance_samples(self) -> int:
        """How many importance samples each component and test point gets; 1 for a likelihood that is known exactly."""
        return 1

    def extra_metrics(self, kind: str) -> set[str]:
        """Return the metrics that, on data of this kind, are measured in a way of this system's own and not from its log-densities."""
        return set()

    @property
    def is_single_vae(self) -> bool:
        """Whether it is the plain VAE: one encoder, a standard normal prior and no flow."""
        return False

    @property
    def vamp_inputs(self) -> int:
        """How many pseudo-inputs the VampPrior of a VAE with one encoder has; 0 for anything else."""
        return 0

    def judged_by(self, dataset: DatasetInfo) -> list[str]:
        """Return the metrics that a paper would judge this system by, in the names of published.csv."""
        if self.likelihood.squared_errors and dataset.is_image:
            return ["rmse" if dataset.kind == "colour_image" else "mse"]
        if dataset.kind == "counts" and dataset.classes > 1:
            return ["ari", "nmi", "asw_true"]
        return ["bpd" if dataset.kind == "colour_image" else "nll_miselbo"]

    def skip_reason(self, dataset: DatasetInfo) -> str | None:
        """Return why this combination makes no sense, or None when it does."""
        if dataset.kind not in self.likelihood.kinds:
            return f"likelihood {self.likelihood.name} does not fit {self.dataset}, whose kind is {dataset.kind}"
        return None


class _Fitted(Run):
    """What every system has that is trained step by step and evaluated by importance sampling: `training` and `evaluation`."""

    @property
    def training_points(self) -> int | None:
        return self.training.points

    @property
    def test_points(self) -> int | None:
        return self.evaluation.points

    @property
    def importance_samples(self) -> int:
        return self.evaluation.samples


class _Trained(_Fitted):
    """What every model of points with a latent space has."""

    latent: Count = 40
    encoder: DenseNetwork = MLP()
    decoder: DenseNetwork = MLP()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()

    @property
    def networks(self) -> tuple[Encoder | Decoder, ...]:
        return self.encoder, self.decoder

    @property
    def latent_units(self) -> int:
        return self.latent

    def skip_reason(self, dataset: DatasetInfo) -> str | None:
        holds = f"{self.dataset} holds {dataset.kind}"
        for role in ("encoder", "lower", "decoder"):
            network = getattr(self, role, MLP())
            if network.for_images and not dataset.is_image:
                return f"a {network.name} {role} needs images, and {holds}"
            try:
                network.shapes(dataset.shape)
            except UserError as error:
                return f"{role}.{error}"
        if self.training.flip and not dataset.is_image:
            return f"training.flip mirrors images, and {holds}"
        if self.decoder.autoregressive and not self.likelihood.binary:
            name = self.decoder.name
            return f"the {name} decoder gives one logit per pixel, so it takes likelihood bernoulli, not {self.likelihood.name}"
        return super().skip_reason(dataset)


class _Mixture(_Trained):
    """What posteriors that are mixtures of K encoders share: any prior and flow."""

    posterior_is_mixture = True

    K: Annotated[int, Field(ge=1, le=1000)]
    prior: Prior = StandardPrior()
    flow: Flow = NoFlow()
    encoder: Encoder = MLP()
    decoder: Decoder = MLP()

    @model_validator(mode="after")
    def _flow_is_wide_enough(self) -> _Mixture:
        if problem := self.flow.problem(self.latent):
            raise ValueError(problem)
        return self

    def skip_reason(self, dataset: DatasetInfo) -> str | None:
        if not self.flow.is_identity and self.latent < 2:
            return f"flow {self.flow.name} needs at least two latent dimensions"
        return super().skip_reason(dataset)


class MixtureVAE(_Mixture):
    """A VAE with K encoders whose mixture is the posterior (Kviman et al., 2023)."""

    model: Literal["vae"] = "vae"

    @property
    def is_single_vae(self) -> bool:
        return self.K == 1 and isinstance(self.prior, StandardPrior) and self.flow.is_identity

    @property
    def vamp_inputs(self) -> int:
        return self.prior.components if self.K == 1 and self.prior.pseudo_inputs else 0


class HierarchicalVAE(_Mixture):
    """Two stochastic layers with K encoders, the mixture being over both (Kviman et al., 2023; Tomczak & Welling, 2018).

    `latent` is the dimension of z1, next to the data, and `latent_top` that of z2, which has the prior; the flow acts on z1.
    `encoder` is q(z2|x), `lower` the part of q(z1|x,z2) that reads x, `joint` the width of its joint layer and
    `conditional` the network of p(z1|z2).
    """

    model: Literal["hvae"]
    latent_top: Count = 40
    lower: Encoder = MLP(hidden=(300,))
    joint: Count = 300
    conditional: DenseNetwork = MLP()

    @property
    def latent_units(self) -> int:
        return self.latent + self.latent_top

    @model_validator(mode="after")
    def _decoder_takes_two_codes(self) -> HierarchicalVAE:
        if self.decoder.name == "deconv":
            raise ValueError("decoder: deconv takes one code; a hierarchical model has mlp or pixelcnn")
        if self.decoder.name == "mlp" and not self.decoder.hidden:
            raise ValueError("decoder.hidden: [] leaves no layer in which z1 and z2 meet; give at least one width")
        return self


class _ClosedForm(_Trained):
    """What models share whose objective has KLs in closed form: no flow, and no bound of several samples."""

    named_by_model = True

    flow: Annotated[NoFlow, BeforeValidator(named)] = NoFlow()

    @model_validator(mode="after")
    def _one_sample(self) -> _ClosedForm:
        if self.training.samples > 1:
            raise ValueError(
                f"training.samples: {self.training.samples} makes an IWAE of vae and hvae only; {self.model} takes 1"
            )
        return self


class MVAE(_ClosedForm):
    """K encoders and K decoders whose weighted sum is the output (Ye & Bors, "Mixtures of Variational Autoencoders").

    `a0` is the concentration of the Dirichlet prior of the weights, `beta` the weight of dHSIC, taken over all K codes
    jointly or summed over all pairs.
    """

    components_are_models = True

    model: Literal["mvae"]
    K: Annotated[int, Field(ge=1, le=100)]
    prior: Annotated[StandardPrior, BeforeValidator(named)] = StandardPrior()
    likelihood: Annotated[Gaussian, BeforeValidator(named)] = Gaussian(name="gaussian")
    latent: Count = 20
    encoder: Encoder = MLP(hidden=(500, 500), activation="relu")
    decoder: Decoder = MLP(hidden=(500, 500), activation="relu")
    a0: PositiveReal = 1.0
    beta: Annotated[Real, Field(ge=0)] = 1.0
    dependence: Literal["joint", "pairs"] = "joint"

    @property
    def latent_units(self) -> int:
        return self.latent * self.K

    def extra_metrics(self, kind: str) -> set[str]:
        names = {f"{name}{end}" for name in ("dhsic", "hsic_pairs") for end in ("", "_null_median", "_null_95")}
        return (names if self.K > 1 else set()) | ({"inception_score"} if kind == "colour_image" else set())

    def judged_by(self, dataset: DatasetInfo) -> list[str]:
        return super().judged_by(dataset) + ["inception_score"] * (dataset.kind == "colour_image")

    @model_validator(mode="after")
    def _decoders_are_independent_of_x(self) -> MVAE:
        if self.decoder.autoregressive:
            raise ValueError("decoder: pixelcnn cannot be summed over components; mvae has mlp or deconv")
        return self


class CPVAE(_ClosedForm):
    """A VAE with K categories, each with a Gaussian prior of its own (Lavda et al., "Improving VAE generations of multimodal data").

    `temperature` is that of the Gumbel-softmax in training.
    """

    categorises = has_category_priors = True

    model: Literal["cpvae"]
    K: Count
    prior: Annotated[ConditionalPrior, BeforeValidator(named)] = ConditionalPrior()
    temperature: PositiveReal = 0.5

    def judged_by(self, dataset: DatasetInfo) -> list[str]:
        return ["-elbo"] + ["cluster_accuracy"] * (dataset.classes > 1)


class GMVAE(_ClosedForm):
    """K clusters whose Gaussians in z are made from a second code w (Dilokthanakul et al., 2016).

    `latent_w` is the dimension of w, `mixture` the network from w to the K Gaussians, `free_nats` the
    cut-off below which the categories' KL is not pushed further.
    """

    categorises = True

    model: Literal["gmvae"]
    K: Count
    prior: Annotated[ConditionalPrior, BeforeValidator(named)] = ConditionalPrior()
    latent_w: Count = 20
    mixture: DenseNetwork = MLP(hidden=(100,))
    free_nats: Annotated[Real, Field(ge=0)] = 0.0

    def judged_by(self, dataset: DatasetInfo) -> list[str]:
        return ["cluster_accuracy"] if dataset.classes > 1 else super().judged_by(dataset)


class ShuGMVAE(_ClosedForm):
    """K clusters with a Gaussian each and q(y|x) q(z|x,y), the sum over y taken exactly (Shu, 2016)."""

    categorises = True

    model: Literal["gmvae_shu"]
    K: Count
    prior: Annotated[ConditionalPrior, BeforeValidator(named)] = ConditionalPrior()

    def judged_by(self, dataset: DatasetInfo) -> list[str]:
        return ["cluster_purity"] if dataset.classes > 1 else super().judged_by(dataset)


class Toy(_Fitted):
    """K Gaussians, or one under a flow, fitted to a two-dimensional density (Kviman et al., 2023)."""

    has_codes = has_data = False
    posterior_is_mixture = True

    model: Literal["toy"]
    K: Annotated[int, Field(ge=1, le=1000)]
    likelihood: Annotated[Density, BeforeValidator(named)] = Density()
    prior: Annotated[StandardPrior, BeforeValidator(named)] = StandardPrior()
    flow: Flow = NoFlow()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()

    def called(self, prior: str, several: bool) -> str:
        # the target takes the prior's place
        return "no flow" if self.flow.is_identity else self.flow.name

    def extra_metrics(self, kind: str) -> set[str]:
        return {"kl", "mass"}


class Constant(Run):
    """The control: a predictor that ignores its input, fitted in closed form."""

    is_control = True
    has_codes = False

    model: Literal["constant"]
    K: Literal[1] = 1
    prior: Annotated[StandardPrior, BeforeValidator(named)] = StandardPrior()
    flow: Annotated[NoFlow, BeforeValidator(named)] = NoFlow()


AnyRun = Run


@cache
def _adapter(systems: tuple[type[Run], ...]) -> TypeAdapter:
    return TypeAdapter(Annotated[Union[systems], Field(discriminator="model")])  # noqa: UP007, of a tuple


def parse_run(value: dict[str, Any]) -> AnyRun:
    """Validate one run's mapping; raises pydantic.ValidationError."""
    return _adapter(tuple(MODELS.values())).validate_python(value)


def parse_run_json(text: str) -> AnyRun:
    """Validate one run's canonical JSON, as written by `canonical`; raises pydantic.ValidationError."""
    return _adapter(tuple(MODELS.values())).validate_json(text)


def read_spec(text: str, source: str) -> AnyRun:
    """Parse a run's JSON; raises UserError naming `source` and what is wrong."""
    try:
        return parse_run_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{source}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def run_spec(folder: Path) -> AnyRun:
    """Read `spec.json` of a run's folder; raises UserError."""
    path = folder / "spec.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file; train the run first")
    return read_spec(path.read_text(), str(path))
