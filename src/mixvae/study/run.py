"""`Run` is the spec that determines a run; it gives the run's id and facts that other rooms ask for. It is parsed here."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import Field

from mixvae.files import canonical_json
from mixvae.study.base import Frozen
from mixvae.study.catalogue import DatasetInfo
from mixvae.study.own_data import OwnData
from mixvae.study.own_parts import kept_as
from mixvae.study.parts import Annealing, Count, Decoder, Encoder, Likelihood

MODELS: dict[str, type[Run]] = {}
"""The spec class of every system by the system's name; a class is entered when it is defined."""


class Run(Frozen):
    """The settings that all systems share, and facts about a system that are no settings and do not enter the id.

    A system is a subclass with the system's name in `model`. The file of that name in room models has the model's class, whose
    name is that of the spec class. These class attributes say whether:

    is_control: it ignores its input and has no latent variable;
    has_codes: it encodes points;
    categorises: it sorts the points into K categories;
    posterior_is_mixture: its posterior is a mixture of K components, each of which draws its own samples;
    components_are_models: every component encodes and decodes alone, so that it can be measured and shown alone;
    named_by_model: its prior and flow are fixed, so that the model's name implies them;
    has_category_priors: every category has a prior of its own, so that categories can be drawn in any proportion.
    """

    is_control: ClassVar[bool] = False
    has_codes: ClassVar[bool] = True
    categorises: ClassVar[bool] = False
    posterior_is_mixture: ClassVar[bool] = False
    components_are_models: ClassVar[bool] = False
    named_by_model: ClassVar[bool] = False
    has_category_priors: ClassVar[bool] = False

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        if "model" in cls.__annotations__ and get_origin(cls.model_fields["model"].annotation) is Literal:
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
        """The run's id: a readable slug and 8 hex digits of the sha256 of the canonical JSON of what its training depends on."""
        dataset = re.sub(r"[^A-Za-z0-9_]+", "_", self.dataset)
        return f"{dataset}-{self.model}-K{self.K}-{self.prior.name}-{self.flow.name}-s{self.seed}-{_digest(_identity(self.training_spec()))}"

    def training_spec(self) -> dict[str, Any]:
        """Return what its training depends on, as JSON types, with defaults spelt out but for those of `later` options."""
        return self.model_dump(mode="json", exclude={"evaluation"})

    def canonical(self) -> str:
        """Return the canonical JSON of what its training depends on."""
        return canonical_json(self.training_spec())

    def measuring(self, rule: str) -> dict[str, Any]:
        """Return the settings of a measuring rule as JSON types; the control, which has no choice, has none."""
        return {} if self.is_control else self.evaluation.model_dump(mode="json", include=self.evaluation.of_rule[rule])

    def measured_by(self, settings: dict[str, Any] | None) -> Run:
        """Return this spec with other settings of measuring. Raises pydantic.ValidationError for what are none."""
        return type(self).model_validate(self.training_spec() | {"evaluation": settings}) if settings else self

    def measurement(self, rule: str) -> str:
        """8 hex digits of the sha256 of a measuring rule and its settings, the name of the folder of what it measures."""
        return _digest([rule, self.measuring(rule)])

    @property
    def group(self) -> str:
        """8 hex digits of the sha256 of all settings but K and seed: runs of one group stand in one column of a table."""
        return _digest(_identity(self.model_dump(mode="json") | {"K": 1, "seed": 0}))

    @property
    def sampled_components(self) -> int:
        """How many components each draw importance samples: K, or 1 for a system in which a sample draws its component."""
        return self.K if self.posterior_is_mixture else 1

    def called(self, prior: str, several: bool) -> str:
        """Return the heading of a table's column of such runs, without the settings that tell variants apart.

        `prior` is the prior's name in tables; with `several` the table has columns of other models, too.
        """
        if self.named_by_model:
            return self.model
        return f"{self.model} {prior}+{self.flow.name}" if several else f"{prior}+{self.flow.name}"

    @property
    def own_files(self) -> dict[str, str]:
        """The names and sha256 of the copies of users' own files that the run keeps, for its parts and itself."""
        values = [getattr(self, name) for name in type(self).model_fields if name != "data"]
        own = [(value.name, value.sha256) for value in values if hasattr(value, "sha256")]
        own += [(self.model, self.sha256)] if hasattr(self, "sha256") else []
        return {kept_as(name, sha256): sha256 for name, sha256 in sorted(own)}

    @property
    def networks(self) -> tuple[Encoder | Decoder, ...]:
        """The encoder and the decoder, if there are any."""
        return ()

    @property
    def latent_units(self) -> int:
        """The dimension of E[z | x]."""
        return 0

    @property
    def training_points(self) -> int | None:
        """The most training points that it is fitted to; None for all. A control has no training and no evaluation."""
        return None if self.is_control else self.training.points

    @property
    def test_points(self) -> int | None:
        """The most test points that it is measured on; None for all."""
        return None if self.is_control else self.evaluation.points

    @property
    def annealing(self) -> Annealing | None:
        """How it is measured by annealed importance sampling; None if it is not."""
        return None

    @property
    def importance_samples(self) -> int:
        """The importance samples per component and test point; 1 for a likelihood that is known exactly."""
        return 1 if self.is_control else self.evaluation.samples

    def extra_metrics(self, kind: str) -> set[str]:
        """Return the metrics that only this system has on data of this kind; they are not made from its log-densities."""
        return set()

    @property
    def own_metrics(self) -> dict[str, Any]:
        """The metrics that are described by its own file and not in `mixvae.study.metrics`."""
        return {}

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
        """Return why this combination of settings makes no sense, or None if it makes sense."""
        if dataset.kind not in self.likelihood.kinds:
            return f"likelihood {self.likelihood.name} does not fit {self.dataset}, whose kind is {dataset.kind}"
        return None


def _identity(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a spec without the facts about own parts, which follow from their files and settings, and may depend on K."""
    parts = {key: _identity(value) if isinstance(value, dict) and "sha256" in value else value for key, value in spec.items()}
    return {key: value for key, value in parts.items() if key != "facts" or "sha256" not in spec}


def _digest(value: Any) -> str:
    """Return 8 hex digits of the sha256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:8]
