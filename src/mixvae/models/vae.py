"""This file has the mixture VAE: one decoder, and K encoders whose mixture is the posterior (Kviman et al., 2023)."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from mixvae.distributions import flows, priors
from mixvae.distributions.coordinates import Coordinates
from mixvae.distributions.posteriors import GaussianMixture, clip
from mixvae.models.bridge import Bridge, mixture_bridge
from mixvae.models.decoding import DecodingModel
from mixvae.models.objectives import LogTerms
from mixvae.nets import encoder
from mixvae.seeds import derive
from mixvae.study import MixtureVAE as Spec

PSEUDO_INPUTS_SHARE = 10
"""A VampPrior gets at most one pseudo-input per this many training points; with more it would memorise a small data set."""


def pseudo_inputs(x: Tensor, seed: int, encoder_input, most: int) -> Tensor:
    """Return `most` training points (fewer for small data) from which pseudo-inputs start, (M, D) in the encoder's input space.

    They are drawn from a random stream of their own, so that they are the same for every K.
    """
    M = max(1, min(most, len(x) // PSEUDO_INPUTS_SHARE))
    stream = torch.Generator().manual_seed(derive(seed, "pseudo-inputs"))
    return encoder_input(x[torch.randperm(len(x), generator=stream)[:M]])


def sample_width(K: int, latent: int, decoder: nn.Module, prior: nn.Module) -> int:
    """Return the size of the widest array through which one sample passes; an evaluation sizes its chunks by it.

    It is a decoder's layer, the distances to all K components, or those to the prior's Gaussians, doubled for float64.
    """
    return max(decoder.width, K * latent, 2 * prior.gaussians(K))


class MixtureVAE(DecodingModel):
    """p(x|z) p(z) with posterior q(z|x) = 1/K sum_k q_k(z|x); each q_k is a Gaussian, or a Gaussian behind a flow.

    The arguments are those of the contract; a VampPrior's pseudo-inputs start from the training points x.
    """

    def __init__(self, spec: Spec, x: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__(spec, shape, (spec.latent,))
        self.sampled_components, self.noise_size = spec.K, spec.latent
        self.encoder = encoder(spec.encoder, spec.K, shape, 2 * spec.latent)
        self.flow = flows.build(spec.flow, spec.K, spec.latent)
        inputs = partial(pseudo_inputs, x, spec.seed, self.likelihood.encoder_input)
        self.prior = priors.build(spec.prior, spec.latent, inputs, self.likelihood)
        self.width = sample_width(spec.K, spec.latent, self.decoder, self.prior)

    def encode(self, inputs: Tensor) -> GaussianMixture:
        """Return q(z | x) for (B, D) in the encoder's input space."""
        mean, log_var = self.encoder(inputs).chunk(2, dim=-1)
        return GaussianMixture(mean, clip(log_var), self.flow)

    def posterior(self, x: Tensor) -> GaussianMixture:
        """Return q(z | x) for (B, D)."""
        return self.encode(self.likelihood.encoder_input(x))

    def log_terms(self, x: Tensor, posterior: GaussianMixture, prior: Distribution, noise: Tensor) -> LogTerms:
        """Return the log-densities of x (B, D) at samples made from noise (L, K, B, Z)."""
        draw = posterior.draw(noise)
        return LogTerms(self.log_likelihood(x, draw.z), prior.log_prob(draw.z), draw.log_mixture, draw.log_component)

    def bridge(self, x: Tensor, prior: Distribution, given: Tensor) -> Bridge:
        """Return the posterior of x (B, D) and the joint density, over z_0 or, under flows of the components' own, over z."""

        def log_joint(z: Tensor) -> Tensor:
            return self.log_likelihood(x, z, given=given).double() + prior.log_prob(z)

        return mixture_bridge(self.posterior(x), log_joint)

    def simulate(self, given: Tensor, prior: Distribution) -> tuple[Tensor, Tensor]:
        """Return draws of x (N, D) and of the coordinates that the bridge of x is over, (N, Z)."""
        z = prior.sample((len(given),)).to(given.dtype)
        return self.draw_points(given, z), Coordinates(self.flow).of_codes(z)

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means and standard deviations of the base Gaussians, (K, B, Z) each."""
        base = self.posterior(x)
        return base.mean, base.std

    def expectation(self, x: Tensor, noise: Tensor) -> Tensor:
        """Return E_q[z | x], (B, Z); under a flow it is estimated from noise (L, K, B, Z)."""
        return self.posterior(x).expectation(noise)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return E[x' | z_k] at one sample z_k of every component, (K, B, D); a PixelCNN gives draws of x'."""
        return self.generate(self.posterior(x).draw(self.one_noise(x)).z[0], x=x)

    def sample(self, n: int) -> Tensor:
        """Return E[x | z], or a PixelCNN's draws, at n samples of the prior, (n, D), for likelihoods conditional on z alone."""
        return self.generate(self.prior_distribution().sample((n,)))

    def sample_component(self, number: int, n: int) -> Tensor:
        """Return E[x | z] at n samples of component `number` of a `mog` or `vamp` prior, (n, D).

        A VampPrior's component is the whole posterior of one pseudo-input, without the flow if the components share one.
        """
        return self.generate(self.prior.sample_component(self.encode, number, n))
