"""Every model against the contract, and every part against its settings."""

import inspect
from importlib import import_module
from typing import get_args

import pytest

from mixvae import own
from mixvae.distributions.flows import FLOWS
from mixvae.distributions.likelihoods import LIKELIHOODS
from mixvae.distributions.priors import PRIORS
from mixvae.models.contract import Model, WithCategories, WithComponents, WithExtraMetrics
from mixvae.nets.decoders import DECODERS
from mixvae.nets.encoders import ENCODERS
from mixvae.study import parts
from mixvae.study.run import MODELS, Run

EVERYTHING = {name for name in vars(Model) if not name.startswith("_")} | {"__init__"}
WITHOUT_CODES = {"codes", "expectation", "reconstruct", "sample"}
"""What a model that encodes no points leaves out."""


@pytest.mark.parametrize("name", MODELS)
def test_every_model_keeps_the_contract(name):
    spec = MODELS[name]
    model = getattr(import_module(f"mixvae.models.{name}"), spec.__name__)
    needed = EVERYTHING - (set() if spec.has_codes else WITHOUT_CODES) - ({"objective"} if spec.is_control else set())
    for protocol, wanted in ((Model, needed), (WithCategories, {"categories"} if spec.categorises else set()),
                             (WithComponents, {"sample_component"} if spec.categorises else set()),
                             (WithExtraMetrics, {"extra_metrics"} if overrides(spec, "extra_metrics") else set())):  # fmt: skip
        for method in wanted:
            ours, theirs = (inspect.signature(getattr(cls, method)).parameters.values() for cls in (model, protocol))
            ours, theirs = list(ours), list(theirs)
            assert [p.name for p in ours[: len(theirs)]] == [p.name for p in theirs], method
            assert [p.default for p in ours[: len(theirs)]] == [p.default for p in theirs], method
            assert all(p.default is not p.empty for p in ours[len(theirs) :]), method
    assert hasattr(model, "categories") == spec.categorises
    assert hasattr(model, "extra_metrics") == overrides(spec, "extra_metrics")


def overrides(spec: type[Run], name: str) -> bool:
    return getattr(spec, name) is not getattr(Run, name)


@pytest.mark.parametrize(
    ("choice", "registry"),
    [
        (parts.Prior, PRIORS),
        (parts.Flow, FLOWS),
        (parts.Encoder, ENCODERS),
        (parts.Decoder, DECODERS),
        (parts.Likelihood, LIKELIHOODS),
    ],
)
def test_every_settings_class_has_its_module_and_an_unknown_one_is_refused(choice, registry):
    assert set(get_args(get_args(choice)[0])) == set(registry)
    assert parts.Density not in registry
    with pytest.raises(AttributeError):  # instead of no part at all
        own.choose(registry, parts.Density())
