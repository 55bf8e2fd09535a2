"""Tries a model with a user's own parts before it is trained, so that a wrong shape, a NaN or a wrong metric is said in one line."""

import torch
from torch import Tensor

from mixvae.errors import UserError
from mixvae.models.contract import Model
from mixvae.models.objectives import LogTerms
from mixvae.models.own_metrics import own_metrics
from mixvae.study import Run

DRAWS, MEASURED = 3, 100
"""The number of draws of two points' log-densities, and of points that the model's own metrics are measured on."""


def probe(model: Model, spec: Run, x: Tensor, kind: str) -> None:
    """Raise UserError if log-densities of two points have wrong shapes or are not finite, or the model's own metrics are others
    than its settings say; the model and torch's generator stay as they were.

    Arguments:
        x: (N, D) training points on the CPU.
        kind: The data's kind.
    """
    who = f"{spec.model} with own parts {', '.join(spec.own_files)}"
    if spec.likelihood.binary:
        x = x.round()
    K, was_training = model.sampled_components, model.training
    if spec.sampled_components != K:
        raise UserError(f"{who}: the model draws samples of {K} components, its settings say {spec.sampled_components}")
    noise = torch.randn(DRAWS, K, 2, model.noise_size, generator=torch.Generator().manual_seed(0))
    model.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        terms = model.log_terms(x[:2], model.posterior(x[:2]), model.prior_distribution(), noise)
        for name, found in zip(LogTerms._fields, terms, strict=True):
            if tuple(found.shape) != (DRAWS, K, 2):
                expected = f"(L, K, B) = {(DRAWS, K, 2)}"
                raise UserError(f"{who}: log-density {name} has shape {tuple(found.shape)}, expected {expected}")
            if not found.isfinite().all():
                raise UserError(
                    f"{who}: log-density {name} is {found[~found.isfinite()][0].item()} at a sample before training"
                )
        own_metrics(model, spec, x[:MEASURED], kind)
    model.train(was_training)
