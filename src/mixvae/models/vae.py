"""The mixture VAE: K encoders whose mixture is the posterior, one decoder (Kviman et al., 2023)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from mixvae.flows import InverseAutoregressiveFlow
from mixvae.likelihoods import LIKELIHOODS
from mixvae.nets import BatchedLinear, mlp
from mixvae.objectives import LogTerms
from mixvae.posteriors import FlowedMixture, GaussianMixture
from mixvae.priors import MixturePrior, StandardPrior, VampPrior
from mixvae.seeds import derive
from mixvae.spec import MixtureVAE as Spec

PSEUDO_INPUTS_SHARE = 10
"""A VampPrior gets at most one pseudo-input per this many training points, or it memorises a small data set."""


class MixtureVAE(nn.Module):
    """p(x|z) p(z) with posterior q(z|x) = 1/K sum_k q_k(z|x), through an optional flow shared by the components.

    Arguments:
        spec: Architecture, prior and flow.
        x: (N, D) training points, from which a VampPrior's pseudo-inputs start.
    """

    def __init__(self, spec: Spec, x: Tensor) -> None:
        super().__init__()
        self.K, self.latent = spec.K, spec.latent
        self.likelihood = LIKELIHOODS[spec.likelihood](x.shape[1])
        # the decoder first: its initial weights then do not depend on K
        decoder, encoder = spec.decoder, spec.encoder
        sizes = (spec.latent, *decoder.hidden)
        self.decoder = mlp(nn.Linear, sizes, self.likelihood.parameters_per_point, decoder.activation, decoder.dropout)
        sizes = (x.shape[1], *encoder.hidden)
        self.encoder = mlp(partial(BatchedLinear, spec.K), sizes, 2 * spec.latent, encoder.activation, encoder.dropout)
        self.flow = (
            InverseAutoregressiveFlow(spec.latent, spec.flow.steps, spec.flow.hidden) if spec.flow.name == "iaf" else None
        )
        self.prior = self._prior(spec, x)
        # Numbers in the widest array that one sample passes through: decoder layers (twice their width when gated), the distances to
        # all K components, and those to the prior's, which count double in float64. An evaluation sizes its chunks by it.
        layers = [self.likelihood.parameters_per_point, *(2 * width for width in decoder.hidden)]
        self.width = max(
            *layers, spec.K * spec.latent, 2 * self.prior.components * (spec.K if spec.prior.name == "vamp" else 1)
        )

    def _prior(self, spec: Spec, x: Tensor) -> nn.Module:
        if spec.prior.name == "standard":
            return StandardPrior(spec.latent)
        if spec.prior.name == "mog":
            return MixturePrior(spec.latent, spec.prior.components)
        M = max(1, min(spec.prior.components, len(x) // PSEUDO_INPUTS_SHARE))
        # a stream of its own: the same training points whatever K
        stream = torch.Generator().manual_seed(derive(spec.seed, "pseudo-inputs"))
        inputs = self.likelihood.encoder_input(x[torch.randperm(len(x), generator=stream)[:M]])
        return VampPrior(inputs, self.likelihood.constrain, self.likelihood.unconstrain)

    @property
    def noise_size(self) -> int:
        """How many standard normals one sample takes."""
        return self.latent

    def encode(self, inputs: Tensor) -> GaussianMixture:
        """Return the K base Gaussians for (B, D) in the encoder's input space."""
        mean, log_var = self.encoder(inputs).chunk(2, dim=-1)
        return GaussianMixture(mean, log_var)

    def posterior(self, x: Tensor) -> GaussianMixture | FlowedMixture:
        """Return q(z | x) for (B, D)."""
        base = self.encode(self.likelihood.encoder_input(x))
        return FlowedMixture(base, self.flow()) if self.flow else base

    def prior_distribution(self, dtype: torch.dtype = torch.float32) -> Distribution:
        """Return p(z), its density computed in `dtype`."""
        return self.prior(self.encode, dtype)

    def log_terms(self, x: Tensor, posterior: GaussianMixture | FlowedMixture, prior: Distribution, noise: Tensor) -> LogTerms:
        """Return the log-densities of x (B, D) at samples made from noise (L, K, B, Z)."""
        draw = posterior.draw(noise)
        log_likelihood = self.likelihood(self.decoder(draw.z), x).log_prob(x)
        return LogTerms(log_likelihood, prior.log_prob(draw.z), draw.log_mixture, draw.log_component)

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means and standard deviations of the base Gaussians, (K, B, Z) each."""
        base = self.encode(self.likelihood.encoder_input(x))
        return base.mean, base.std

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return E[x' | z_k] at one sample z_k of every component, (K, B, D)."""
        z = self.posterior(x).draw(torch.randn(1, self.K, len(x), self.latent, device=x.device)).z[0]
        return self.likelihood(self.decoder(z), x).mean

    def sample(self, n: int) -> Tensor:
        """Return E[x | z] at n samples of the prior, (n, D); for likelihoods that condition on nothing else."""
        z = self.prior_distribution().sample((n,))
        return self.likelihood(self.decoder(z), None).mean
