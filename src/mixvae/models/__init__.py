"""One file per system, named as the system and with a class named as its spec class; contract.py says what such a class offers."""

from __future__ import annotations

from importlib import import_module

import torch
from torch import Tensor

from mixvae.models.contract import Model
from mixvae.seeds import derive
from mixvae.study import AnyRun


def build(spec: AnyRun, x: Tensor, shape: tuple[int, ...]) -> Model:
    """Return the model that `spec` describes, initialised from the run's seed.

    Arguments:
        spec: The run.
        x: (N, D) training points on the CPU, for initialisation.
        shape: The shape of a point, of D numbers in all.
    """
    torch.manual_seed(derive(spec.seed, "initialisation"))
    # imported when asked for, so that a job pays for one model
    return getattr(import_module(f"mixvae.models.{spec.model}"), type(spec).__name__)(spec, x, shape)
