"""RunSpec: everything one run depends on, and the id that follows from it."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, model_validator

from mixvae.files import canonical_json
from mixvae.spec.base import Frozen, PositiveReal, Real, Sizes, named
from mixvae.spec.catalogue import DatasetInfo

Count = Annotated[int, Field(ge=1)]

LIKELIHOOD_KIND = {"bernoulli": "binary_image", "nb": "counts", "zinb": "counts"}
"""The kind of data each likelihood is a distribution of."""


class StandardPrior(Frozen):
    """N(0, I)."""

    name: Literal["standard"]


class MixturePrior(Frozen):
    """A learnt mixture of `components` diagonal Gaussians."""

    name: Literal["mog"]
    components: Count = 500


class VampPrior(Frozen):
    """The aggregate posterior of `components` learnt pseudo-inputs (Tomczak & Welling, 2018)."""

    name: Literal["vamp"]
    components: Count = 500


class NoFlow(Frozen):
    """The posterior's components stay Gaussian."""

    name: Literal["none"]


class InverseAutoregressiveFlow(Frozen):
    """`steps` inverse autoregressive steps shared by all components (Kingma et al., 2016)."""

    name: Literal["iaf"]
    steps: Count = 2
    hidden: Sizes = (320, 320)


class MLP(Frozen):
    """Dense layers of the given widths."""

    name: Literal["mlp"] = "mlp"
    hidden: Sizes = (300, 300)
    activation: Literal["gated", "relu"] = "gated"
    dropout: Annotated[Real, Field(ge=0, lt=1)] = 0.0


class Training(Frozen):
    """Adam, linear KL warm-up over `warmup` epochs, early stopping after `patience` epochs without improvement."""

    learning_rate: PositiveReal = 5e-4
    batch_size: Count = 100
    epochs: Count = 4000
    warmup: Annotated[int, Field(ge=0)] = 100
    patience: Count = 100

    @model_validator(mode="after")
    def _warmup_ends(self) -> Training:
        if self.warmup > self.epochs:
            raise ValueError(f"warmup of {self.warmup} epochs never ends within epochs: {self.epochs}; lower warmup")
        return self


class Evaluation(Frozen):
    """`samples` importance samples per component and test point; probes fitted on at most `probe_points` training points."""

    samples: Count = 5000
    probe_points: Count = 5000

    @model_validator(mode="after")
    def _enough_for_pareto(self) -> Evaluation:
        if self.samples < 25:
            raise ValueError(f"samples: {self.samples} is too few for an importance-weighted likelihood; use 25 or more")
        return self


Prior = Annotated[Annotated[StandardPrior | MixturePrior | VampPrior, Field(discriminator="name")], BeforeValidator(named)]
Flow = Annotated[Annotated[NoFlow | InverseAutoregressiveFlow, Field(discriminator="name")], BeforeValidator(named)]
Network = Annotated[MLP, BeforeValidator(named)]


class _Run(Frozen):
    dataset: str
    likelihood: Literal["bernoulli", "nb", "zinb"]
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

    def skip_reason(self, dataset: DatasetInfo) -> str | None:
        """Return why this combination makes no sense, or None when it does."""
        if LIKELIHOOD_KIND[self.likelihood] != dataset.kind:
            return f"likelihood {self.likelihood} does not fit {self.dataset}, whose kind is {dataset.kind}"
        return None


class MixtureVAE(_Run):
    """A VAE with K encoders whose mixture is the posterior (Kviman et al., 2023)."""

    model: Literal["vae"] = "vae"
    K: Annotated[int, Field(ge=1, le=1000)]
    prior: Prior = StandardPrior(name="standard")
    flow: Flow = NoFlow(name="none")
    latent: Count = 40
    encoder: Network = MLP()
    decoder: Network = MLP()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _flow_is_wide_enough(self) -> MixtureVAE:
        if self.flow.name == "iaf" and min(self.flow.hidden, default=0) < self.latent - 1:
            raise ValueError(
                f"flow.hidden: {list(self.flow.hidden)} is too narrow for latent: {self.latent}; a MADE needs at least {self.latent - 1}"
            )
        return self

    def skip_reason(self, dataset: DatasetInfo) -> str | None:
        if self.flow.name == "iaf" and self.latent < 2:
            return "an autoregressive flow needs at least two latent dimensions"
        return super().skip_reason(dataset)


class Constant(_Run):
    """The control: a predictor that ignores its input, fitted in closed form."""

    model: Literal["constant"]
    K: Literal[1] = 1
    prior: Prior = StandardPrior(name="standard")
    flow: Flow = NoFlow(name="none")

    def skip_reason(self, dataset: DatasetInfo) -> str | None:
        if self.prior.name != "standard" or self.flow.name != "none":
            return "the constant control has no latent variable, so neither a prior nor a flow"
        return super().skip_reason(dataset)


MODELS = {"vae": MixtureVAE, "constant": Constant}
RunSpec = Annotated[MixtureVAE | Constant, Field(discriminator="model")]
_adapter = TypeAdapter(RunSpec)


def parse_run(value: dict[str, Any]) -> MixtureVAE | Constant:
    """Validate one run's mapping; raises pydantic.ValidationError."""
    return _adapter.validate_python(value)


def parse_run_json(text: str) -> MixtureVAE | Constant:
    """Validate one run's canonical JSON, as written by `canonical`; raises pydantic.ValidationError."""
    return _adapter.validate_json(text)
