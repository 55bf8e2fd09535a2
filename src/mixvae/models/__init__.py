"""This room has a file per system, with a class named as its spec class; contract.py says what such a class must offer."""

from importlib import import_module

import torch
from torch import Tensor

from mixvae.models.contract import Model
from mixvae.seeds import derive
from mixvae.study import Run


def build(spec: Run, x: Tensor, shape: tuple[int, ...]) -> Model:
    """Return the model that `spec` describes, initialised from the run's seed.

    Arguments:
        x: (N, D) training points on the CPU, for initialisation.
        shape: The shape of a point, of D numbers in all.
    """
    torch.manual_seed(derive(spec.seed, "initialisation"))
    # imported here, so that a job imports only the model that it needs
    return getattr(import_module(f"mixvae.models.{spec.model}"), type(spec).__name__)(spec, x, shape)
