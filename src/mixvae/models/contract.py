"""The contract of a model stands here, and only here: what it must offer to be trained, evaluated and shown."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from mixvae.models.objectives import LogTerms, Objective
from mixvae.study import AnyRun


class Model(Protocol):
    """A torch module whose training, evaluation and figures know it only by what stands here.

    Everything random in `log_terms`, `objective` and `expectation` is made from `noise`, standard normals of
    (L, sampled_components, B, noise_size), so that a point's estimate depends on its own noise alone. An objective may draw from
    torch's generator beside it (a relaxed category, a Dirichlet); `log_terms` may not. `reconstruct` and the methods that sample
    draw from torch's generator.

    A model computes in float32. An evaluation asks `prior_distribution` for float64, adds up log-densities in float64, and expects
    densities of mixtures and anything that inverts a flow to be in float64 in evaluation mode.

    A model with categories (`categorises` in its spec) has `categories`, one with a prior of several components `sample_category`, and
    one that is measured in further ways (`extra_metrics` in its spec) `extra_metrics`; see the classes below.

    sampled_components: The size K of the second axis of its log-densities, as the spec's fact of this name: 1 where a component is
        drawn within a sample.
    noise_size: How many standard normals one sample takes.
    width: How many numbers the widest array holds that one sample of one point passes through, apart from what is made for blocks of
        samples. The chunks of an evaluation follow from it, and with them the noise of a validation: it belongs to the results.
    """

    sampled_components: int
    noise_size: int
    width: int

    def __init__(self, spec: AnyRun, x: Tensor, shape: tuple[int, ...]) -> None:
        """Initialise a model from torch's generator.

        Arguments:
            spec: The run's settings.
            x: (N, D) training points on the CPU: grey values and not binarised pixels.
            shape: The shape of a point, of D numbers in all.
        """

    def posterior(self, x: Tensor) -> Any:
        """Return what the posterior of (B, D) consists of; None without latent variables."""

    def prior_distribution(self, dtype: torch.dtype = torch.float32) -> Any:
        """Return the prior, its densities computed in `dtype`; it is made once for many points."""

    def log_terms(self, x: Tensor, posterior: Any, prior: Any, noise: Tensor) -> LogTerms:
        """Return the log-densities of x (B, D) at samples made from noise (L, K, B, noise_size), (L, K, B) each."""

    def objective(self, x: Tensor, kl_weight: float | Tensor, noise: Tensor) -> Objective:
        """Return what training maximises and its parts, (B,) each."""

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the codes of (B, D), (components, B, Z) each."""

    def expectation(self, x: Tensor, noise: Tensor) -> Tensor:
        """Return E[z | x] of (B, D) as (B, latent_units of the spec), from noise where it has no closed form."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return E[x' | z] at one sample of the posterior, (components, B, D); draws of x' from an autoregressive decoder."""

    def sample(self, n: int) -> Tensor:
        """Return E[x | z] at n samples of the prior, (n, D), for likelihoods that condition on nothing else."""


class WithCategories(Protocol):
    """A model that sorts points into categories."""

    def categories(self, x: Tensor) -> Tensor:
        """Return the probabilities of the categories of (B, D), (B, K)."""


class WithComponents(Protocol):
    """A model whose prior has several components that can be looked at apart."""

    def sample_category(self, category: int, n: int) -> Tensor:
        """Return E[x | z] at n samples of one component of the prior, (n, D)."""


class WithExtraMetrics(Protocol):
    """A model that is measured in ways that other models are not."""

    def extra_metrics(self, x: Tensor) -> dict[str, tuple[float | None, str]]:
        """Return {name: (value, unit)} of test points (N, D); None for a value that could not be measured, the unit says why."""
