"""Every part of the library passes the checks that `make check-part` makes of users' own parts, and these find what is wrong."""

import pytest
import torch

from mixvae.cluster.part_checks import checks
from mixvae.study import parse_run, parts

PARTS = [
    ("prior", parts.StandardPrior()),
    ("prior", parts.MixturePrior(name="mog", components=3)),
    ("prior", parts.VampPrior(name="vamp", components=3)),
    ("flow", parts.NoFlow()),
    ("flow", parts.InverseAutoregressiveFlow(name="iaf", hidden=(8,))),
    ("flow", parts.InverseAutoregressiveFlow(name="iaf", hidden=(8,), order="alternating")),
    ("flow", parts.CouplingFlow(name="coupling", hidden=(8,))),
    ("flow", parts.SplineFlow(name="spline", hidden=(8,))),
    ("encoder", parts.MLP(hidden=(8,), dropout=0.1)),
    ("encoder", parts.Conv(name="conv", layers=((2, 3, 2),))),
    ("decoder", parts.MLP(hidden=(8,))),
    ("decoder", parts.Deconv(name="deconv", layers=((2, 4, 2),))),
    ("decoder", parts.PixelCNN(name="pixelcnn", layers=2, channels=4)),
    ("likelihood", parts.Bernoulli()),
    ("likelihood", parts.Gaussian(name="gaussian")),
    ("likelihood", parts.NegativeBinomial(name="nb")),
    ("likelihood", parts.ZeroInflatedNegativeBinomial(name="zinb")),
    ("likelihood", parts.Logistics(name="logistics")),
]  # fmt: skip


SMALL = {"dataset": "digits", "latent": 2, "encoder": {"hidden": [6]}, "decoder": {"hidden": [6]}}
MODELS = [
    {"model": "vae", "prior": {"name": "mog", "components": 3}, "flow": {"name": "coupling", "hidden": [6]}},
    {"model": "vae", "prior": {"name": "vamp", "components": 3}, "flow": {"name": "iaf", "hidden": [6]}},
    {"model": "hvae", "latent_top": 2, "lower": {"hidden": [6]}, "joint": 5, "conditional": {"hidden": [6]}},
    {"model": "cpvae"},
    {"model": "gmvae", "latent_w": 2, "mixture": {"hidden": [6]}},
    {"model": "gmvae_shu"},
    {"model": "mvae", "likelihood": "gaussian"},
]


def model(changes):
    return lambda K: parse_run({"likelihood": "bernoulli", **SMALL, **changes, "K": K})


def case(kind, settings):
    return [pytest.param(check, id=f"{kind} {settings.name}: {name}") for name, check in checks(kind, settings).items()]


@pytest.mark.parametrize("check", [check for kind, settings in PARTS for check in case(kind, settings)])
def test_a_part_of_the_library(check):
    torch.manual_seed(5)
    check()


@pytest.mark.parametrize("changes", MODELS, ids=lambda changes: changes["model"])
def test_a_model_of_the_library(changes):
    torch.manual_seed(5)
    found = checks("model", model(changes))
    assert ("likelihoods add up to 1" in found) == ("likelihood" not in changes)
    for check in found.values():
        check()
