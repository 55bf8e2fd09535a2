"""This file estimates the likelihood of test points by importance sampling, and measures how reliable the estimates are."""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixvae.errors import UserError
from mixvae.measuring.chunks import Unfinished, by_chunks
from mixvae.measuring.entries import entries
from mixvae.models import Model
from mixvae.models.objectives import LogTerms, component_elbos, effective_sample_size, jensen_shannon, miselbo, nll, nll_miselbo
from mixvae.seeds import derive

SAMPLE_BLOCK = {"cpu": 64, "cuda": 512}
"""How many samples per component are decoded at once. Noise is seeded per block, so another size changes every estimate."""
ELEMENTS = {"cpu": 1 << 21, "cuda": 1 << 26}
"""How many numbers the widest array of a chunk may have."""
PARETO_K_LIMIT = 0.7
"""An importance-weighted estimate is unreliable if its Pareto shape is above this (Vehtari et al., 2024)."""
PARETO_SAMPLES = 25
"""The least number of weights whose tail a Pareto distribution can be fitted to."""
TAIL, UNDERFLOW, EQUAL = 5, 700.0, 1e-9
"""The rank of a weight that must not vanish, how far below the largest log-weight it vanishes, the spread of equal weights."""


def evaluate(
    model: Model, x: Tensor, samples: int, seed: int, indices: Tensor | None = None, store: Unfinished | None = None
) -> dict[str, np.ndarray]:
    """Return the estimates of every point of (N, D) as arrays of (N,), and `elbo_components` as (N, K).

    It computes in chunks of points and blocks of samples, so memory does not grow with N, and only one chunk's log-weights grow
    with the number of samples. The noise of a point depends on the seed and the point's index alone, so a point's estimate does
    not depend on the chunks or the other points.

    Arguments:
        samples: L, importance samples per component.
        indices: The index of each row of x among the test points; by default 0 to N - 1.
        store: Where finished chunks are kept, if they are.
    """
    device = next(model.parameters()).device
    indices = torch.arange(len(x)) if indices is None else indices
    per_point = model.sampled_components * max(min(samples, SAMPLE_BLOCK[device.type]) * model.width, 2 * samples)
    points = max(1, ELEMENTS[device.type] // per_point)
    with torch.inference_mode():
        model.eval()
        # the networks compute in float32, the density of a mixture prior in float64: see DiagonalMixture
        prior = model.prior_distribution(torch.float64)

        def compute(part: slice) -> dict[str, np.ndarray]:
            terms = _terms(model, x[part].to(device), prior, samples, seed, indices[part].tolist())
            _refuse_nonfinite(terms, indices[part])
            return summarise(terms)

        summary = f"{len(x)} points, {samples} x {model.sampled_components} samples each"
        return by_chunks("evaluation", len(x), points, compute, store, summary)


def _terms(model: Model, x: Tensor, prior: Any, samples: int, seed: int, which: list[int]) -> LogTerms:
    """Return the log-densities at L samples of the points of indices `which`, (L, K, B) in float64, block by block."""
    posterior = model.posterior(x)
    # allocated first, since small results kept between large temporary arrays would fragment the memory
    result = torch.empty(len(LogTerms._fields), samples, model.sampled_components, len(x), dtype=torch.float64, device=x.device)
    size = SAMPLE_BLOCK[x.device.type]
    for block, start in enumerate(range(0, samples, size)):
        shape = (min(size, samples - start), model.sampled_components, model.noise_size)
        seeds = (derive(seed, "evaluation", point, block) for point in which)
        streams = (torch.Generator(x.device).manual_seed(of_point) for of_point in seeds)
        noise = torch.stack([torch.randn(shape, generator=stream, device=x.device) for stream in streams], dim=2)
        for kept, term in zip(result, model.log_terms(x, posterior, prior, noise), strict=True):
            kept[start : start + len(term)] = term
    return LogTerms(*result)


def summarise(terms: LogTerms) -> dict[str, np.ndarray]:
    """Return every estimate of one chunk of points from its log-densities (L, K, B)."""
    log_weights = terms.log_weights()
    L, K, _ = log_weights.shape
    # about L samples in all for every K, so that different K can be compared
    matched = log_weights[: max(1, L // K)]
    result = {
        "elbo": miselbo(terms),
        "nll": nll(log_weights),
        "nll_miselbo": nll_miselbo(log_weights),
        "nll_matched": nll(matched),
        "reconstruction": -terms.log_likelihood.mean((0, 1)),
        "kl": (terms.log_mixture - terms.log_prior).mean((0, 1)),
        "jsd": jensen_shannon(terms),
        "ess": effective_sample_size(log_weights),
        "elbo_components": component_elbos(terms).T,
    }
    arrays = {name: value.cpu().numpy() for name, value in result.items()}
    if L * K > 1:
        arrays["pareto_k"] = pareto_k(log_weights.flatten(0, 1).T.cpu().numpy())
        arrays["pareto_k_matched"] = pareto_k(matched.flatten(0, 1).T.cpu().numpy()) if K > 1 else arrays["pareto_k"]
    return arrays


def _refuse_nonfinite(terms: LogTerms, which: Tensor) -> None:
    broken = ~terms.log_weights().isfinite().all(0).all(0).cpu()
    if broken.any():
        point = int(which[broken][0])
        raise UserError(
            f"test point {point}: an importance weight is not finite; the model's weights are no good, train it again"
        )


def pareto_k(log_weights: np.ndarray) -> np.ndarray:
    """Return the Pareto shape of every row's weight tail, (B,) for (B, N), by Pareto-smoothed importance sampling.

    Equal weights have no tail and get 0. If there are too few weights, or all but a few vanish in float64 beside the largest,
    no shape can be fitted, and the result is infinity, the least reliable value.
    """
    from arviz_stats.base import array_stats

    if log_weights.shape[1] < PARETO_SAMPLES:
        return np.full(len(log_weights), np.inf)
    result = np.zeros(len(log_weights))
    below = np.sort(log_weights.max(1, keepdims=True) - log_weights, axis=1)
    vanishing, varied = below[:, TAIL] > UNDERFLOW, below[:, -1] > EQUAL
    fitted = varied & ~vanishing
    if fitted.any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about k above the limit, which is a metric of its own here
            # arviz takes log-likelihoods, whose negatives are the log-weights of leave-one-out
            result[fitted] = array_stats.psislw(-log_weights[fitted])[1]
    result[vanishing | ~np.isfinite(result)] = np.inf
    return result


def metrics(pointwise: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Return the metrics of a run as entries by name, from the result of `evaluate`."""
    exact = "pareto_k" not in pointwise
    names = ["elbo", "nll", "nll_miselbo"] + ["nll_matched", "reconstruction", "kl", "jsd", "ess"] * (not exact)
    result = {name: pointwise[name] for name in names}
    if not exact:
        for name in ("pareto_k", "pareto_k_matched"):
            median = float(np.median(pointwise[name]))
            result[name] = median if np.isfinite(median) else None
            result[f"{name}_above_0.7"] = (pointwise[name] > PARETO_K_LIMIT).astype(float)
        result |= {f"elbo_component_{k}": elbo for k, elbo in enumerate(pointwise["elbo_components"].T, start=1)}
    return entries(result)
