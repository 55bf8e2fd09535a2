"""One file per system. A model has `K`, `noise_size`, `width` and answers `posterior`, `prior_distribution`, `log_terms`; see vae.py."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mixvae.models.constant import Constant
from mixvae.models.vae import MixtureVAE
from mixvae.seeds import derive
from mixvae.spec import Constant as ConstantSpec
from mixvae.spec import MixtureVAE as MixtureVAESpec

MODELS = {"vae": MixtureVAE, "constant": Constant}


def build(spec: MixtureVAESpec | ConstantSpec, x: Tensor) -> nn.Module:
    """Return the model that `spec` describes, initialised from the run's seed.

    Arguments:
        spec: The run.
        x: (N, D) training points on the CPU, for initialisation.
    """
    torch.manual_seed(derive(spec.seed, "initialisation"))
    return MODELS[spec.model](spec, x)
