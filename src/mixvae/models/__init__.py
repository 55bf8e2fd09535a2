"""This room has a file per system, with a class named as its spec class; contract.py says what such a class must offer."""

from importlib import import_module
from typing import get_args

import torch
from torch import Tensor

from mixvae import own
from mixvae.models.contract import Model
from mixvae.seeds import derive
from mixvae.study import Run
from mixvae.study.systems import OwnModel


def build(spec: Run, x: Tensor, shape: tuple[int, ...]) -> Model:
    """Return the model that `spec` describes, initialised from the run's seed.

    Arguments:
        x: (N, D) training points on the CPU, for initialisation.
        shape: The shape of a point, of D numbers in all.
    """
    torch.manual_seed(derive(spec.seed, "initialisation"))
    if isinstance(spec, OwnModel):
        file = own.load(spec.sha256, spec.model)
        return own.build(spec.sha256, spec.model, as_its_file_has_it(spec, file.Settings), x, shape)
    # imported here, so that a job imports only the model that it needs
    return getattr(import_module(f"mixvae.models.{spec.model}"), type(spec).__name__)(spec, x, shape)


def as_its_file_has_it(spec: OwnModel, settings: type[Run]) -> Run:
    """Return the spec of an own model as the settings class of its file has it."""
    (name,) = get_args(settings.model_fields["model"].annotation)
    every = spec.model_dump(mode="json")
    shared = {field: every[field] for field in settings.model_fields.keys() & OwnModel.model_fields.keys()}
    return own.read(settings, shared | spec.settings | {"model": name})
