"""Counts the floating point operations of a model and the bytes that it keeps, on tensors without data."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mixvae.study import DatasetInfo, Run
from mixvae.study.resources import points

SMALL = 2
"""Points, and samples, with which an evaluation is counted; it is linear in both."""


class Counts(NamedTuple):
    """Counts of one model.

    step: Operations of a training step.
    encode: Operations of encoding one point.
    sample: Operations of one importance sample of all components, for one point.
    kept: Bytes that a step keeps for its gradient.
    width: Numbers that one sample passes through at its widest.
    parameters: Parameters of the whole model.
    codes: Numbers that the probes see of one point.
    """

    step: float
    encode: float
    sample: float
    kept: float
    width: int
    parameters: int
    codes: int


def count(spec: Run, info: DatasetInfo) -> Counts:
    """Build a run's model from zeros and count its operations, on tensors without data where the model allows it."""
    import torch

    from mixvae.models import build

    dimensions = math.prod(info.shape)
    # pseudo-inputs start from training points, at most one from ten of them
    rows = min(info.splits.train, 10 * max(100, spec.prior.components if spec.prior.pseudo_inputs else 0))

    def zeros():
        return build(spec, torch.zeros(rows, dimensions), tuple(info.shape))

    model = zeros()
    batch = min(spec.training.batch_size, points(spec, info, "train"))
    codes = 0
    if spec.has_codes:
        with torch.inference_mode():
            codes = sum(numbers.numel() for numbers in model.eval().codes(torch.zeros(1, dimensions)))
    try:
        step, encode, sample, kept = operations(model.to("meta"), batch, spec, dimensions)
    except RuntimeError:
        # the model makes a random draw that needs data, so count two small batches: operations are affine in the batch, except
        # those of dHSIC, which are a small part
        model = zeros()
        one, two = (np.array(operations(model, size, spec, dimensions)) for size in (SMALL, 2 * SMALL))
        step, encode, sample, kept = one + (two - one) * (batch - SMALL) / SMALL
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Counts(step, encode, sample, kept, model.width, parameters, codes)


def operations(model: Any, batch: int, spec: Run, dimensions: int) -> tuple[float, float, float, float]:
    """Return the operations of a training step, of encoding one point and of one sample, and the bytes that the step keeps."""
    import torch

    device = next(model.parameters()).device
    model.train()
    x = torch.zeros(batch, dimensions, device=device)
    noise = torch.zeros(spec.training.samples, model.sampled_components, batch, model.noise_size, device=device)
    # a tensor that several operations keep counts once
    kept: dict[int, Any] = {}

    def keep(tensor):
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step = flops(lambda: (-model.objective(x, 1.0, noise).value.mean()).backward())
    model.eval()
    with torch.no_grad():
        x = torch.zeros(SMALL, dimensions, device=device)
        noise = torch.zeros(SMALL, model.sampled_components, SMALL, model.noise_size, device=device)
        encode = flops(lambda: model.posterior(x))
        posterior, prior = model.posterior(x), model.prior_distribution(torch.float64)
        sample = flops(lambda: model.log_terms(x, posterior, prior, noise))
    bytes_kept = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    return step, encode / SMALL, sample / SMALL**2, bytes_kept


def flops(function: Callable[[], Any]) -> int:
    """Return the floating point operations of the matrix products and convolutions in a call."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()
