"""This file measures a model's likelihood by annealed importance sampling, and takes the gap to its bound apart."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mixvae.distributions.posteriors import GaussianMixture
from mixvae.errors import UserError
from mixvae.measuring import annealing, best_posterior
from mixvae.measuring.adaptive import MOST_DIMENSIONS, adapted
from mixvae.measuring.chunks import Arrays, Streams, Unfinished, by_chunks
from mixvae.measuring.entries import entry, of_points
from mixvae.measuring.evaluation import ELEMENTS
from mixvae.models import Model
from mixvae.seeds import derive
from mixvae.study import metrics
from mixvae.study.parts import Annealing

Entries = dict[str, dict[str, Any]]


class Points(NamedTuple):
    """Points to measure.

    x: (N, D).
    given: (N, D), points that the likelihood conditions on: x itself, unless x was simulated.
    indices: (N,), by which each point's random numbers are seeded.
    exact: (N, U), coordinates that simulated points were made from.
    """

    x: Tensor
    given: Tensor
    indices: Tensor
    exact: Tensor | None = None

    def part(self, chosen: Any) -> "Points":
        """Return some of the points."""
        return Points(*(None if field is None else field[chosen] for field in self))


class Bracket:
    """A model with what its measurements share.

    Arguments:
        seed: The run's seed.
        store: Where finished chunks are kept.
    """

    def __init__(self, model: Model, settings: Annealing, seed: int, store: Unfinished) -> None:
        self.model, self.settings, self.seed, self.store = model.eval().requires_grad_(False), settings, seed, store
        self.device = next(model.parameters()).device
        # the networks compute in float32, the density of a mixture prior in float64: see DiagonalMixture
        self.prior = model.prior_distribution(torch.float64)

    def bridge(self, points: Points) -> Any:
        """Return the bridge of points."""
        return self.model.bridge(points.x.to(self.device), self.prior, points.given.to(self.device))

    def _chunks(self, name: str, points: Points, samples: int, compute: Any) -> Arrays:
        passes = self.bridge(points.part(slice(1))).passes
        size = max(1, ELEMENTS[self.device.type] // (samples * self.model.width * passes))
        return by_chunks(name, len(points.x), size, lambda part: compute(points.part(part)), self.store)

    def streams(self, axis: str, points: Points) -> Streams:
        """Return the random numbers of points for one purpose."""
        return Streams(self.seed, axis, points.indices, self.device)

    def annealed(self, name: str, points: Points, temperatures: int) -> Arrays:
        """Return `nll`, its Monte Carlo variance, `ess` and `acceptance` of points, (N,) each.

        Simulated points also have `reverse`, the estimate of -log p(x) by chains in the reverse direction, and its variance.

        Arguments:
            name: The name of the axis of random numbers.
        """
        chains, noise_size = self.settings.chains, self.model.noise_size

        def compute(points: Points) -> Arrays:
            bridge = self.bridge(points)
            tuning = annealing.tune(bridge, temperatures, self.streams(f"{name}, pilots", points), noise_size)
            numbers = annealing.noise_per_chain(temperatures, noise_size, tuning.scale.shape[-1])
            found = annealing.forward(bridge, tuning, self.streams(name, points)(chains, numbers), noise_size)
            _refuse_nonfinite(found.log_weights, points)
            arrays = log_mean(found.log_weights) | {"acceptance": found.acceptance.mean(0).cpu().numpy()}
            if points.exact is not None:
                noise = self.streams(f"{name}, reverse", points)(chains, numbers)
                back = log_mean(annealing.reverse(bridge, tuning, points.exact.to(self.device), noise, noise_size).log_weights)
                arrays |= {"reverse": -back["nll"], "reverse_variance": back["variance"]}
            return arrays

        return self._chunks(name, points, chains, compute)

    def adapted(self, points: Points) -> Arrays:
        """Return `nll` and its Monte Carlo variance by adaptive importance sampling, (N,) each."""
        name = "adaptive importance sampling"

        def compute(points: Points) -> Arrays:
            return log_mean(adapted(self.bridge(points), self.streams(name, points), self.model.noise_size))

        return self._chunks(name, points, 200, compute)

    def bounds(self, points: Points) -> Arrays:
        """Return ELBOs of points: of the posterior, `posterior`, of the best one of its family, `best`, and of one Gaussian, `one`.

        Each is (N,), with its Monte Carlo variance; `amortised_variance` is that of the difference of the first two.
        """
        K = self.model.sampled_components
        blocks = max(1, best_posterior.BOUND_SAMPLES // K)

        def compute(points: Points) -> Arrays:
            x, noise = points.x.to(self.device), self.streams("best posterior", points)
            q = self.model.posterior(x)
            normal = self.streams("bounds", points)(blocks * K, q.mean.shape[-1]).unflatten(0, (blocks, K))
            fits = {"posterior": q, "best": best_posterior.fitted(self.model, x, self.prior, q, noise)}
            if K > 1 and q.flow.distinct == 1:
                start = best_posterior.best_component(self.model, x, self.prior, q, normal[:32])
                fits["one"] = best_posterior.fitted(self.model, x, self.prior, start, noise)
            arrays, drawn = {}, {}
            for name, fit in fits.items():
                drawn[name] = best_posterior.bounds(self.model, x, self.prior, fit, normal[:, : len(fit.mean)])
                arrays |= {name: drawn[name].mean(0), f"{name}_variance": _variance(drawn[name])}
            arrays["amortised_variance"] = _variance(drawn["best"] - drawn["posterior"])
            return {key: value.cpu().numpy() for key, value in arrays.items()}

        return self._chunks("best posterior", points, best_posterior.STEP_SAMPLES, compute)


def log_mean(log_weights: Tensor) -> Arrays:
    """Return `nll`, minus the logarithm of the mean of the weights (C, B), with its Monte Carlo variance and `ess`, (B,) each."""
    C = len(log_weights)
    total = log_weights.logsumexp(0)
    ess = (2 * total - (2 * log_weights).logsumexp(0)).exp()
    # by the delta method: the variance of the mean of the weights relative to its square
    found = {"nll": math.log(C) - total, "variance": (C / ess - 1) / (C - 1), "ess": ess}
    return {name: value.cpu().numpy() for name, value in found.items()}


def _refuse_nonfinite(log_weights: Tensor, points: Points) -> None:
    broken = ~log_weights.logsumexp(0).isfinite().cpu()
    if broken.any():
        raise UserError(
            f"point {int(points.indices[broken][0])}: no weight of annealing is a finite number; the model's weights are no good,"
            " or its `bridge` gives NaN"
        )


def _variance(drawn: Tensor) -> Tensor:
    """Return the variance of the mean of L draws, (L, B), as (B,)."""
    return drawn.var(0) / max(1, len(drawn))


def bracket(
    model: Model, settings: Annealing, seed: int, test: Points, train: Points, first: Tensor, store: Unfinished
) -> tuple[Entries, Arrays]:
    """Return the metrics of a model, and the values at points that they are made from.

    Arguments:
        test, train: The points to measure.
        first: (N,) booleans, those of the test points on which gaps are measured.
    """
    if not hasattr(model, "bridge"):
        return dict.fromkeys(METRICS, entry(None, "not measured: the model has no method `bridge`")), {}
    with torch.no_grad():
        of = Bracket(model, settings, seed, store)
        passes = of.bridge(test.part(slice(1))).passes
        if passes > MOST_PASSES:
            reason = f"not measured: every sample would be decoded {passes} times, at most {MOST_PASSES} are affordable"
            return dict.fromkeys(METRICS, entry(None, reason)), {}
        return _bracket(of, test, train, first)


MOST_PASSES = 50
"""A model that sums out more categories than this, decoding each, is not measured."""
METRICS = tuple(name for name, metric in metrics.METRICS.items() if metric.where == metrics.BRACKET)


def _bracket(of: Bracket, test: Points, train: Points, first: Tensor) -> tuple[Entries, Arrays]:
    T = of.settings.temperatures
    found = of.annealed("annealing", test, T)
    arrays = {"nll_ais": found["nll"], "nll_ais_variance": found["variance"], "ais_ess": found["ess"]}
    result = {
        "nll_ais": of_points("nll_ais", found["nll"], found["variance"]),
        "ais_ess": of_points("ais_ess", found["ess"]),
        "ais_acceptance": of_points("ais_acceptance", found["acceptance"]),
    }
    here, nll, variance = test.part(first), found["nll"][first.numpy()], found["variance"][first.numpy()]
    coarse = of.annealed("annealing, half the temperatures", here, max(1, T // 2))
    result["ais_sensitivity"] = of_points("ais_sensitivity", coarse["nll"] - nll, coarse["variance"] + variance)
    result |= _gap(of, here) | _adaptive(of, test, arrays) | _inference(of, here, nll, variance, arrays)
    seen = of.annealed("annealing, training points", train, T)
    arrays |= {"nll_train": seen["nll"], "nll_train_variance": seen["variance"]}
    result["nll_train"] = of_points("nll_train", seen["nll"], seen["variance"])
    ours, theirs = result["nll_ais"], result["nll_train"]
    errors = {name: _together(ours[name], theirs[name]) for name in ("stderr", "mc_error")}
    unit = ours["unit"]
    result["generalisation_gap"] = entry(ours["value"] - theirs["value"], unit, **errors)
    return result, arrays


def _together(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else math.hypot(a, b)


def _gap(of: Bracket, like: Points) -> Entries:
    """Return the mean difference of upper and lower bounds of log p(x) on points that the model simulates (Grosse et al., 2015)."""
    torch.manual_seed(derive(of.seed, "simulated points"))
    given = like.given.to(of.device)
    try:
        x, exact = of.model.simulate(given, of.prior)
    except NotImplementedError:  # raised by torch's distributions that have no `sample`
        return {"ais_gap": entry(None, "not measured: the likelihood has no method `sample`")}
    found = of.annealed("annealing, simulated points", Points(x, given, torch.arange(len(x)), exact), of.settings.temperatures)
    # the reverse chains' estimate of log p(x) is too large in expectation, that of the forward chains too small
    differences = found["nll"] - found["reverse"]
    return {"ais_gap": of_points("ais_gap", differences, found["variance"] + found["reverse_variance"])}


def _adaptive(of: Bracket, test: Points, arrays: Arrays) -> Entries:
    U = of.bridge(test.part(slice(1))).start(torch.zeros(1, 1, of.model.noise_size + 1, device=of.device)).shape[-1]
    if U > MOST_DIMENSIONS:
        return {"nll_adaptive": entry(None, f"not measured: {U} latent dimensions are more than {MOST_DIMENSIONS}")}
    found = of.adapted(test)
    arrays |= {"nll_adaptive": found["nll"], "nll_adaptive_variance": found["variance"]}
    return {"nll_adaptive": of_points("nll_adaptive", found["nll"], found["variance"])}


def _inference(of: Bracket, here: Points, nll: np.ndarray, variance: np.ndarray, arrays: Arrays) -> Entries:
    """Return the gaps from the log-likelihood to the ELBO of the best posterior, and from that to the model's own."""
    names = ("approximation_gap", "approximation_gap_one", "amortisation_gap")
    if not isinstance(of.model.posterior(here.x[:1].to(of.device)), GaussianMixture):
        return dict.fromkeys(names, entry(None, "not measured: the posterior is no mixture of Gaussians over one code"))
    found = of.bounds(here)
    arrays |= {f"elbo_{name}": found[name] for name in ("posterior", "best", "one") if name in found}
    result = {
        "approximation_gap": of_points("approximation_gap", -nll - found["best"], variance + found["best_variance"]),
        "amortisation_gap": of_points("amortisation_gap", found["best"] - found["posterior"], found["amortised_variance"]),
    }
    if "one" in found:
        gap = of_points("approximation_gap_one", -nll - found["one"], variance + found["one_variance"])
    elif of.model.sampled_components == 1:
        gap = result["approximation_gap"]
    else:
        gap = entry(None, "not measured: every component has a flow of its own")
    return result | {"approximation_gap_one": gap}
