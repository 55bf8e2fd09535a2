"""One file per system, each a module that training, evaluation and latents know only by the methods that vae.py shows."""

from __future__ import annotations

from importlib import import_module

import torch
from torch import Tensor, nn

from mixvae.seeds import derive
from mixvae.study import AnyRun

MODELS = {
    "vae": "MixtureVAE",
    "hvae": "HierarchicalVAE",
    "mvae": "MVAE",
    "cpvae": "CPVAE",
    "gmvae": "GMVAE",
    "gmvae_shu": "ShuGMVAE",
    "toy": "Toy",
    "constant": "Constant",
}
"""Every system's class, in the file of the system's name; imported when asked for, so that a job pays for one."""


def build(spec: AnyRun, x: Tensor, shape: tuple[int, ...]) -> nn.Module:
    """Return the model that `spec` describes, initialised from the run's seed.

    Arguments:
        spec: The run.
        x: (N, D) training points on the CPU, for initialisation.
        shape: The shape of a point, of D numbers in all.
    """
    torch.manual_seed(derive(spec.seed, "initialisation"))
    return getattr(import_module(f"mixvae.models.{spec.model}"), MODELS[spec.model])(spec, x, shape)
