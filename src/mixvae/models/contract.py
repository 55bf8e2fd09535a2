"""This file is the contract of a model: the attributes and methods that training, evaluation and figures use."""

from typing import Any, Protocol

import torch
from torch import Tensor

from mixvae.models.bridge import Bridge
from mixvae.models.objectives import LogTerms, Objective
from mixvae.study import Run


class Model(Protocol):
    """A torch module with the attributes and methods below; training and evaluation use no others.

    `log_terms`, `objective` and `expectation` make everything random from `noise`, standard normals of (L, sampled_components,
    B, noise_size), so that a point's estimate depends on its own noise alone. An objective may also draw from torch's generator
    (a relaxed category, a Dirichlet); `log_terms` may not. `reconstruct` and methods that sample draw from it, too.

    A model computes in float32. An evaluation asks `prior_distribution` for float64 and adds up log-densities in float64. In
    evaluation mode, densities of mixtures and inverses of flows must be in float64.

    A model that can be measured by annealed importance sampling has `bridge` and `simulate`.
    A model with categories (`categorises` in its spec) also has `categories`; a model with a prior of several components has
    `sample_component`; a model whose components are models (`components_are_models`) has `reconstruct_components`; a model with
    metrics of its own (`extra_metrics` in its spec) has `extra_metrics`. See the classes below.

    sampled_components: The size K of the second axis of its log-densities, equal to the spec's `sampled_components`: 1 where
        each sample draws its component.
    noise_size: How many standard normals one sample needs.
    width: The size of the widest array through which one sample of one point passes, apart from arrays made for blocks of
        samples. It sets the chunks of evaluation and validation, and thereby a validation's noise: changing it changes results.
    """

    sampled_components: int
    noise_size: int
    width: int

    def __init__(self, spec: Run, x: Tensor, shape: tuple[int, ...]) -> None:
        """Initialise a model from torch's generator.

        Arguments:
            spec: The run's settings.
            x: (N, D) training points on the CPU; grey values are not binarised.
            shape: The shape of a point, which has D numbers.
        """

    def posterior(self, x: Tensor) -> Any:
        """Return the posterior of x (B, D), in a form of the model's own; None without latent variables."""

    def prior_distribution(self, dtype: torch.dtype = torch.float32) -> Any:
        """Return the prior, whose densities are computed in `dtype`; callers make it once for many points."""

    def log_terms(self, x: Tensor, posterior: Any, prior: Any, noise: Tensor) -> LogTerms:
        """Return the log-densities of x (B, D) at samples made from noise (L, K, B, noise_size), (L, K, B) each."""

    def objective(self, x: Tensor, kl_weight: float | Tensor, noise: Tensor) -> Objective:
        """Return the value that training maximises and its parts, (B,) each."""

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the latent codes of (B, D), (components, B, Z) each."""

    def expectation(self, x: Tensor, noise: Tensor) -> Tensor:
        """Return E[z | x] of (B, D) as (B, latent_units of the spec), estimated from noise if it has no closed form."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return E[x' | z] at one sample of the posterior, (components, B, D); an autoregressive decoder gives draws of x'."""

    def sample(self, n: int) -> Tensor:
        """Return E[x | z] at n samples of the prior, (n, D), for likelihoods that condition on z alone."""


class WithCategories(Protocol):
    """A model that sorts points into categories."""

    def categories(self, x: Tensor) -> Tensor:
        """Return the probabilities of the categories of (B, D), (B, K)."""


class WithComponents(Protocol):
    """A model whose prior has several components that can be sampled one by one."""

    def sample_component(self, number: int, n: int) -> Tensor:
        """Return E[x | z] at n samples of one component of the prior, (n, D)."""


class WithDecoders(Protocol):
    """A model whose components are models, each with a decoder of its own."""

    def reconstruct_components(self, x: Tensor) -> Tensor:
        """Return the output of every component alone at the posterior means of (B, D), (K, B, D)."""


class WithBridge(Protocol):
    """A model whose likelihood can be measured by annealed importance sampling."""

    def bridge(self, x: Tensor, prior: Any, given: Tensor) -> Bridge:
        """Return the posterior and the joint density of x (B, D), over coordinates without bounds.

        Arguments:
            prior: What `prior_distribution` returns.
            given: (B, D) points that the likelihood conditions on, such as on their library size: x itself, unless x was simulated.
        """

    def simulate(self, given: Tensor, prior: Any) -> tuple[Tensor, Tensor]:
        """Return draws of x given `given`, (N, D), and with each the draw of the coordinates that it was made from, (N, U)."""


class WithExtraMetrics(Protocol):
    """A model with metrics that other models do not have."""

    def extra_metrics(self, x: Tensor) -> dict[str, tuple[float | None, str]]:
        """Return {name: (value, unit)} of test points (N, D); a value that cannot be measured is None, the unit says why."""
