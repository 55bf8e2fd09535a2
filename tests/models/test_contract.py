"""Every model against the contract, every part against its settings, and a model of one's own from training to audit."""

import inspect
import runpy
import sys
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
import torch

import mixvae.models
from mixvae.distributions.flows import FLOWS
from mixvae.distributions.likelihoods import LIKELIHOODS
from mixvae.distributions.priors import PRIORS
from mixvae.files import read_json
from mixvae.models import build
from mixvae.models.contract import Model, WithCategories, WithComponents, WithExtraMetrics
from mixvae.nets.decoders import DECODERS
from mixvae.nets.encoders import ENCODERS
from mixvae.review.audit import audit
from mixvae.review.audit.findings import FAILURE
from mixvae.study import expand, parts
from mixvae.study.commands import command
from mixvae.study.jobs import all_jobs, run_file
from mixvae.study.listing import listing
from mixvae.study.rules import list_study
from mixvae.study.run import MODELS, Run
from mixvae.summary.results import read_study

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
    assert parts.Density not in registry  # and so a KeyError, instead of no part at all


SPEC = '''
from typing import Literal
from mixvae.study.systems import MixtureVAE

class Shrunk(MixtureVAE):
    """A mixture VAE whose reconstructions count `share` only."""

    model: Literal["shrunk"]
    share: float = 0.5

    def extra_metrics(self, kind):
        return {"share"}
'''
MODULE = """
from mixvae.models.vae import MixtureVAE

class Shrunk(MixtureVAE):
    def __init__(self, spec, x, shape):
        super().__init__(spec, x, shape)
        self.share = spec.share

    def objective(self, x, kl_weight, noise):
        found = super().objective(x, kl_weight, noise)
        return found._replace(value=found.value - (1 - self.share) * found.reconstruction)

    def extra_metrics(self, x):
        return {"share": (self.share, "of the reconstruction")}
"""


@pytest.fixture
def shrunk(tmp_path, monkeypatch):
    """A system of one's own: its spec class in one file and its model in another, and no file of the library changed."""
    (tmp_path / "shrunk_spec.py").write_text(SPEC)
    (tmp_path / "shrunk.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(mixvae.models, "__path__", [*mixvae.models.__path__, str(tmp_path)])
    yield import_module("shrunk_spec").Shrunk
    MODELS.pop("shrunk")
    for name in ("shrunk_spec", "mixvae.models.shrunk"):
        sys.modules.pop(name, None)


def test_a_model_of_ones_own_goes_from_training_to_tables_and_audit(shrunk, workspace, monkeypatch):
    settings = {"likelihood": "bernoulli", "latent": 2, "encoder": {"hidden": [6]}, "decoder": {"hidden": [6]}, "K": 2}
    short = {
        "training": {"epochs": 2, "warmup": 1, "points": 200},
        "evaluation": {"samples": 30, "probe_points": 200, "points": 40},
    }
    block = {"dataset": "digits", "model": ["vae", "shrunk"], **settings, **short}
    expansion = expand({"study": "own", "runs": [block]}, "own.yaml")
    mine = next(spec for spec in expansion.runs.values() if spec.model == "shrunk")
    assert isinstance(mine, shrunk)
    assert mine.id.startswith("digits-shrunk-K2-")
    assert type(build(mine, torch.zeros(20, 64), (1, 8, 8))).__name__ == "Shrunk"
    monkeypatch.chdir(workspace)
    for job in all_jobs("own", expansion.runs, expansion.datasets, Path("results")):
        if job.rule == "study":
            list_study(job.folder, listing(expansion))
        else:
            script(monkeypatch, command(job, expansion.runs.get(job.name), expansion.datasets.get(job.name), False, False))
    found = read_json(run_file("likelihood.json", mine, Path("results/runs", mine.id)))["metrics"]
    assert found["share"] == {"value": 0.5, "stderr": None, "unit": "of the reconstruction"}
    assert "shrunk" in Path("results/own/tables/ablation_digits.md").read_text()
    assert read_study(Path("results/own/study.json")).runs[mine.id] == mine
    findings = audit(Path("results/own"), expansion)
    assert not [str(finding) for finding in findings.of(FAILURE)]


def script(monkeypatch, argv: list[str]) -> None:
    """Run a job's script in this process, which knows the new system."""
    monkeypatch.setattr(sys, "argv", argv[1:])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(argv[1], run_name="__main__")
    assert left.value.code == 0, argv
