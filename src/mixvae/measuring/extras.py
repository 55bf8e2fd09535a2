"""This file measures a run's metrics beside its likelihood: squared errors, the model's own metrics and the Inception Score."""

import math
from typing import Any

import torch
from torch import Tensor

from mixvae.measuring import inception
from mixvae.measuring.entries import entries, entry
from mixvae.models import Model
from mixvae.models.own_metrics import INCEPTION_SCORE, own_metrics
from mixvae.seeds import derive
from mixvae.study import Run
from mixvae.study.metrics import METRICS

CHUNK, INCEPTION_IMAGES = 500, 10_000
"""The number of points that are reconstructed at once, and of images in an Inception Score."""


def extra_metrics(model: Model, spec: Run, x: Tensor, kind: str) -> dict[str, dict[str, Any]]:
    """Return a run's metrics of test points x (N, D) beside their likelihood, {name: {value, stderr, unit}}.

    They are the squared errors, if the likelihood is judged by them; the metrics that the model measures itself; and the
    Inception Score, if the system has it for data of this kind.
    """
    if spec.is_control:
        return {}
    torch.manual_seed(derive(spec.seed, "extra metrics"))
    result: dict[str, dict[str, Any]] = {}
    with torch.inference_mode():
        model.eval()
        if spec.likelihood.squared_errors:
            result |= _errors(model, x)
        result |= {name: entry(*value) for name, value in own_metrics(model, spec, x, kind).items()}
        if INCEPTION_SCORE in spec.extra_metrics(kind):
            result[INCEPTION_SCORE] = _inception(model, x.shape[1])
    return result


def _errors(model: Model, x: Tensor) -> dict[str, dict[str, Any]]:
    device = next(model.parameters()).device
    errors = [(model.reconstruct(chunk.to(device)).cpu() - chunk).square().sum(-1).mean(0) for chunk in x.split(CHUNK)]
    mse = entries({"mse": torch.cat(errors).double().numpy()})["mse"]
    rmse = mse["value"] ** 0.5
    return {"mse": mse, "rmse": entry(rmse, METRICS["rmse"].unit, mse["stderr"] and mse["stderr"] / (2 * rmse))}


def _inception(model: Model, dimensions: int) -> dict[str, Any]:
    classify = inception.classifier()
    if isinstance(classify, str):
        return entry(None, f"not measured: {classify}")
    images = torch.cat([model.sample(CHUNK).cpu() for _ in range(INCEPTION_IMAGES // CHUNK)])
    score = inception.inception_score(classify(images.view(-1, 3, *[math.isqrt(dimensions // 3)] * 2)))
    return entry(score, METRICS[INCEPTION_SCORE].unit)
