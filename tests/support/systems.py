"""Every system: a new one adds a row to SYSTEMS."""

import itertools

from mixvae.study import Run, parse_run
from support.specs import DENSE

DIGITS = {"dataset": "digits", "likelihood": "bernoulli", **DENSE}
CELLS = {
    "dataset": "pbmc68k_reduced",
    "likelihood": "zinb",
    "latent": 3,
    "encoder": {"hidden": [8], "activation": "relu", "dropout": 0.1},
    "decoder": {"hidden": [8], "activation": "relu"},
}
TRAINING = {"points": 120, "batch_size": 30, "epochs": 6, "warmup": 1, "learning_rate": 5e-3}
PRIORS = {"standard": "standard", "mog": {"name": "mog", "components": 4}, "vamp": {"name": "vamp", "components": 6}}
FLOWS = {
    "none": "none",
    "iaf": {"name": "iaf", "hidden": [8]},
    "coupling": {"name": "coupling", "steps": 2, "hidden": [8]},
    "spline": {"name": "spline", "steps": 2, "hidden": [8], "bins": 4},
}
CONV = {"name": "conv", "layers": [[4, 3, 1], [4, 3, 2]]}
PIXELCNN = {"name": "pixelcnn", "layers": 3, "channels": 4}
STRIDED = [[4, 4, 2], [6, 4, 2]]
HVAE = {**DIGITS, "model": "hvae", "latent_top": 2, "lower": {"hidden": [8]}, "joint": 8, "conditional": {"hidden": [8]}}
MVAE = {**DIGITS, "model": "mvae", "likelihood": "gaussian"}

SYSTEMS = {
    **{
        f"vae-{prior}-{flow}-K{K}": {**DIGITS, "prior": PRIORS[prior], "flow": FLOWS[flow], "K": K}
        for prior, flow, K in itertools.product(PRIORS, FLOWS, (1, 3))
    },
    "vae-conv-pixelcnn": {**DIGITS, "encoder": CONV, "decoder": PIXELCNN, "prior": PRIORS["vamp"], "K": 2},
    "vae-colours": {
        **DIGITS,
        "dataset": "colours",
        "likelihood": {"name": "logistics", "mixtures": 2},
        "encoder": {"name": "conv", "layers": STRIDED, "activation": "relu"},
        "decoder": {"name": "deconv", "layers": STRIDED},
        "K": 2,
    },
    "vae-gaussian": {**DIGITS, "dataset": "toy1d", "likelihood": "gaussian", "K": 2},
    "vae-nb": {**CELLS, "likelihood": "nb", "K": 2},
    **{
        f"vae-zinb-{prior}-{flow}": {**CELLS, "prior": PRIORS[prior], "flow": FLOWS[flow], "K": 3}
        for prior, flow in (("standard", "none"), ("mog", "iaf"), ("vamp", "none"), ("vamp", "coupling"))
    },
    "vae-iwae": {**DIGITS, "K": 2, "training": {**TRAINING, "samples": 3}},
    "hvae": {**HVAE, "K": 3},
    "hvae-conv": {**HVAE, "encoder": CONV, "lower": CONV, "K": 2},
    "hvae-coupling": {**HVAE, "prior": PRIORS["mog"], "flow": FLOWS["coupling"], "K": 2},
    "composite": {
        **HVAE,
        **{"encoder": CONV, "lower": CONV, "decoder": PIXELCNN, "prior": PRIORS["vamp"], "flow": FLOWS["iaf"], "K": 2},
    },
    "mvae-K1": {**MVAE, "K": 1},
    "mvae": {**MVAE, "K": 3},
    "mvae-conv": {
        **MVAE,
        **{"encoder": {"name": "conv", "layers": STRIDED}, "decoder": {"name": "deconv", "layers": STRIDED}, "K": 3},
    },
    "mvae-colours": {
        **MVAE,
        **{"dataset": "colours", "encoder": {"name": "conv", "layers": STRIDED}, "dependence": "pairs", "K": 3},
    },
    "cpvae": {**DIGITS, "model": "cpvae", "K": 3},
    "cpvae-real": {**DIGITS, "model": "cpvae", "dataset": "toy1d", "likelihood": "gaussian", "K": 2},
    "gmvae": {**DIGITS, "model": "gmvae", "latent_w": 2, "mixture": {"hidden": [6]}, "K": 3},
    "gmvae_shu": {**DIGITS, "model": "gmvae_shu", "K": 3},
    **{f"toy-{target}-{flow}": {"model": "toy", "dataset": target, "flow": FLOWS[flow], "K": 3}
       for target in ("ring", "bivariate") for flow in ("none", "iaf", "coupling")},
}  # fmt: skip


def spec_of(row: dict, **changes) -> Run:
    return parse_run({"model": "vae", "training": TRAINING, "evaluation": {"samples": 50}, **row, **changes})
