"""This file has the spec class of every system, with its settings and facts; defining a class registers it."""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from mixvae.errors import UserError
from mixvae.study.base import Frozen, PositiveReal, Real, from_list, named
from mixvae.study.catalogue import DatasetInfo
from mixvae.study.own_parts import Name, Sha256
from mixvae.study.parts import (
    MLP,
    Annealing,
    AnyPrior,
    ConditionalPrior,
    Count,
    Decoder,
    DenseNetwork,
    Density,
    Encoder,
    Evaluation,
    Flow,
    Gaussian,
    NoFlow,
    Prior,
    StandardPrior,
    Training,
)
from mixvae.study.run import Run


class TrainedModel(Run):
    """A model of points with a latent space, an encoder and a decoder."""

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

    @property
    def annealing(self) -> Annealing | None:
        return self.evaluation.ais

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


class MixturePosterior(TrainedModel):
    """A model whose posterior is a mixture of K encoders, with any prior and flow."""

    posterior_is_mixture = True

    K: Annotated[int, Field(ge=1, le=1000)]
    prior: Prior = StandardPrior()
    flow: Flow = NoFlow()
    encoder: Encoder = MLP()
    decoder: Decoder = MLP()

    @model_validator(mode="after")
    def _flow_is_wide_enough(self) -> MixturePosterior:
        if problem := self.flow.problem(self.latent):
            raise ValueError(problem)
        return self

    def skip_reason(self, dataset: DatasetInfo) -> str | None:
        if not self.flow.is_identity and self.latent < 2:
            return f"flow {self.flow.name} needs at least two latent dimensions"
        return super().skip_reason(dataset)


class MixtureVAE(MixturePosterior):
    """A VAE with K encoders whose mixture is the posterior (Kviman et al., 2023)."""

    model: Literal["vae"] = "vae"

    @property
    def is_single_vae(self) -> bool:
        return self.K == 1 and isinstance(self.prior, StandardPrior) and self.flow.is_identity

    @property
    def vamp_inputs(self) -> int:
        return self.prior.components if self.K == 1 and self.prior.pseudo_inputs else 0


class HierarchicalVAE(MixturePosterior):
    """A VAE with two stochastic layers and K encoders, a mixture over both (Kviman et al., 2023; Tomczak & Welling, 2018).

    `latent` is the dimension of z1, which is next to the data, and `latent_top` that of z2, which has the prior; the flow acts
    on z1. `encoder` is the network of q(z2|x), `lower` the part of q(z1|x,z2) that reads x, `joint` the width of the layer that
    joins x and z2, and `conditional` the network of p(z1|z2).
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


class ClosedFormModel(TrainedModel):
    """A model whose objective has its KLs in closed form; it has no flow, and no bound of several samples."""

    named_by_model = True

    flow: Annotated[NoFlow, BeforeValidator(named)] = NoFlow()

    @model_validator(mode="after")
    def _one_sample(self) -> ClosedFormModel:
        if self.training.samples > 1:
            raise ValueError(
                f"training.samples: {self.training.samples} makes an IWAE of vae and hvae only; {self.model} takes 1"
            )
        return self


class MVAE(ClosedFormModel):
    """K encoders and K decoders whose weighted sum is the output (Ye & Bors, "Mixtures of Variational Autoencoders").

    `a0` is the concentration of the Dirichlet prior of the weights, `beta` the weight of dHSIC, and `dependence` says whether
    dHSIC is taken over all K codes jointly or summed over all pairs.
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


class CPVAE(ClosedFormModel):
    """K categories with a Gaussian prior each (Lavda et al., "Improving VAE generations of multimodal data").

    `temperature` belongs to the Gumbel-softmax in training.
    """

    categorises = has_category_priors = True

    model: Literal["cpvae"]
    K: Count
    prior: Annotated[ConditionalPrior, BeforeValidator(named)] = ConditionalPrior()
    temperature: PositiveReal = 0.5

    def judged_by(self, dataset: DatasetInfo) -> list[str]:
        return ["-elbo"] + ["cluster_accuracy"] * (dataset.classes > 1)


class GMVAE(ClosedFormModel):
    """K clusters whose Gaussians in z are made from a second code w (Dilokthanakul et al., 2016).

    `latent_w` is the dimension of w, `mixture` the network from w to the K Gaussians, and `free_nats` the value below which the
    categories' KL is not reduced further.
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


class ShuGMVAE(ClosedFormModel):
    """K clusters with a Gaussian each; the sum over the cluster y in q(y|x) q(z|x,y) is exact (Shu, 2016)."""

    categorises = True

    model: Literal["gmvae_shu"]
    K: Count
    prior: Annotated[ConditionalPrior, BeforeValidator(named)] = ConditionalPrior()

    def judged_by(self, dataset: DatasetInfo) -> list[str]:
        return ["cluster_purity"] if dataset.classes > 1 else super().judged_by(dataset)


class Toy(Run):
    """K Gaussians, with or without a flow, fitted to a two-dimensional density (Kviman et al., 2023)."""

    has_codes = False
    posterior_is_mixture = True

    model: Literal["toy"]
    K: Annotated[int, Field(ge=1, le=1000)]
    likelihood: Annotated[Density, BeforeValidator(named)] = Density()
    prior: Annotated[StandardPrior, BeforeValidator(named)] = StandardPrior()
    flow: Flow = NoFlow()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()

    def called(self, prior: str, several: bool) -> str:
        # there is no prior to name: the target density takes its place
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


class OwnMetric(Frozen):
    """A metric that only an own model has.

    note: What it means, for readers of tables.
    better: Which end of the scale is better; None where neither is.
    """

    note: str
    better: Literal["min", "max"] | None = None


class OwnModelFacts(Frozen):
    """What a model's own file says of a run, see `Run`.

    extra: The metrics that it measures itself.
    metrics: Those of them that no other system has.
    """

    has_codes: bool
    categorises: bool
    posterior_is_mixture: bool
    components_are_models: bool
    named_by_model: bool
    has_category_priors: bool
    latent_units: int
    judged: Annotated[tuple[str, ...], from_list]
    extra: Annotated[tuple[str, ...], from_list]
    metrics: dict[str, OwnMetric]


class OwnModel(TrainedModel):
    """A model of a user's own file as data, see `mixvae.study.own_parts`.

    `settings` are those that only its own settings class has.
    """

    model: Name
    sha256: Sha256
    settings: dict[str, Any] = Field({})
    facts: OwnModelFacts
    K: Count
    prior: AnyPrior
    flow: Flow
    encoder: Encoder
    decoder: Decoder

    def spelt_out(self) -> dict[str, Any]:
        said = super().spelt_out()
        return {name: value for name, value in said.items() if name not in ("settings", "facts")} | said["settings"]

    @property
    def own_metrics(self) -> dict[str, OwnMetric]:
        return self.facts.metrics

    def extra_metrics(self, kind: str) -> set[str]:
        return set(self.facts.extra)

    def judged_by(self, dataset: DatasetInfo) -> list[str]:
        return list(self.facts.judged)


for _name in OwnModelFacts.model_fields.keys() - {"judged", "extra", "metrics"}:
    setattr(OwnModel, _name, property(attrgetter(f"facts.{_name}")))
