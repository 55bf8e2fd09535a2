"""This file measures a run's metrics beside its likelihood: squared errors, the model's own metrics and the Inception Score."""

import math
from typing import Any

import torch
from torch import Tensor

from mixvae.errors import UserError
from mixvae.measuring import inception
from mixvae.measuring.entries import entries, entry
from mixvae.models import Model
from mixvae.seeds import derive
from mixvae.study import Run
from mixvae.study.metrics import METRICS

INCEPTION_SCORE = "inception_score"
"""The metric of some systems that is measured for them."""
CHUNK, INCEPTION_IMAGES = 500, 10_000
"""The number of points that are reconstructed at once, and of images in an Inception Score."""


def extra_metrics(model: Model, spec: Run, x: Tensor, kind: str) -> dict[str, dict[str, Any]]:
    """Return a run's metrics beside its likelihood, {name: {value, stderr, unit}}.

    They are the squared errors, if the likelihood is judged by them; the metrics that the model measures itself; and the
    Inception Score, if the system has it.

    Arguments:
        x: (N, D) test points.
        kind: The data's kind.
    """
    if spec.is_control:
        return {}
    torch.manual_seed(derive(spec.seed, "extra metrics"))
    result: dict[str, dict[str, Any]] = {}
    with torch.inference_mode():
        model.eval()
        if spec.likelihood.squared_errors:
            result |= _errors(model, x)
        result |= of_model(model, spec, x, kind)
        if INCEPTION_SCORE in spec.extra_metrics(kind):
            result[INCEPTION_SCORE] = _inception(model, x.shape[1])
    return result


def of_model(model: Model, spec: Run, x: Tensor, kind: str) -> dict[str, dict[str, Any]]:
    """Return the metrics that a model measures itself. Raises UserError if they are others than its settings say, or no numbers."""
    found = model.extra_metrics(x) if hasattr(model, "extra_metrics") else {}
    expected = spec.extra_metrics(kind) - {INCEPTION_SCORE}
    where = f"{spec.model}: extra_metrics"
    if not isinstance(found, dict) or found.keys() != expected:
        said = (", ".join(map(str, found)) or "nothing") if isinstance(found, dict) else f"a {type(found).__name__}"
        raise UserError(
            f"{where} of Module gives {said}, but that of Settings names {', '.join(sorted(expected)) or 'nothing'}"
        )
    for name, value in found.items():
        if not (
            isinstance(value, tuple)
            and len(value) == 2
            and isinstance(value[0], float | int | None)
            and isinstance(value[1], str)
        ):
            raise UserError(f"{where}: {name} is {value!r}, expected (number or None, unit)")
    return {name: entry(*value) for name, value in found.items()}


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
