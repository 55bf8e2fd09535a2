"""This file has CP-VAE, a VAE with K categories, each with a learnt Gaussian prior (Lavda et al.)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gumbel_softmax

from mixvae.distributions.categorical import INITIAL_SPREAD, draw_categories, uniform_kl
from mixvae.distributions.gaussians import DiagonalMixture, gaussian_kl_to_each, gaussian_log_prob
from mixvae.distributions.posteriors import GaussianMixture, clip
from mixvae.distributions.priors import MixturePrior
from mixvae.models.bridge import Bridge, mixture_bridge
from mixvae.models.decoding import CategoryEncoder
from mixvae.models.objectives import LogTerms, Objective
from mixvae.nets import mlp
from mixvae.study.systems import CPVAE as Spec

CHUNK = 4096
"""How many points pass the encoder at once in `CPVAE.marginal`."""


class Posterior(NamedTuple):
    """log q(c | x), (B, C), and q(z | x), one Gaussian of (1, B, Z)."""

    log_categories: Tensor
    z: GaussianMixture


class CPVAE(CategoryEncoder):
    r"""p(x|z,c) p(z|c) p(c) with posterior q(z|x,c) q(c|x): p(c) = 1/C, p(z|c) = N(mu_c, diag s_c^2) learnt.

    From Lavda et al., "Improving VAE generations of multimodal data through data-dependent conditional priors". Their
    q(z|x,c) = N(mu(x, pi), s(x, pi)) does not read c, but the *probabilities* pi(x) of q(c|x), by a gated layer over pi and the
    last hidden layer (Fig. 2). Given x, the published z and c are therefore independent, and q(z|x,c) = q(z|x). The text does
    not give the gated layer's width; here it is that of the last hidden layer. The decoder reads [z, c]. The paper initialises
    by Glorot's rule; here all layers have torch's initial weights.

    The arguments are those of the contract; nothing is initialised from the training points x.
    """

    def __init__(self, spec: Spec, x: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__(spec, shape, (spec.latent + spec.K,))
        self.temperature = spec.temperature
        self.gated = mlp(nn.Linear, (self.features + spec.K, self.features), 2 * spec.latent, "gated", 0.0)
        self.prior = MixturePrior(spec.latent, spec.K, INITIAL_SPREAD)
        self.register_buffer("one_hot", torch.eye(spec.K), persistent=False)
        self.width = max(self.decoder.width, self.noise_size + spec.K)

    def posterior(self, x: Tensor) -> Posterior:
        """Return q(c | x) and q(z | x) for (B, D)."""
        hidden, log_categories = self.encode_categories(x)
        mean, log_var = self.gated(torch.cat((hidden, log_categories.exp()), dim=-1)).chunk(2, dim=-1)
        return Posterior(log_categories, GaussianMixture(mean[None], clip(log_var[None])))

    def objective(self, x: Tensor, kl_weight: float | Tensor, noise: Tensor) -> Objective:
        """Return the paper's objective and its parts, (B,) each, averaged over the L samples.

        It is equation 7 with the KL of equations 8 and 9 in closed form. The decoder reads a Gumbel-softmax sample of c, so the
        reconstruction is an approximation and the objective is no bound.
        """
        log_categories, q = self.posterior(x)
        prior = self.prior_distribution(x.dtype)
        z = q.mean + q.std * noise[..., : self.latent]
        relaxed = gumbel_softmax(log_categories.expand(*z.shape[:-1], self.C), tau=self.temperature)
        log_likelihood = self.log_likelihood(x, torch.cat((z, relaxed), dim=-1)).mean((0, 1))
        conditional = gaussian_kl_to_each(q.mean[0], q.log_var[0], prior.loc, prior.log_var)
        kl = uniform_kl(log_categories) + (log_categories.exp() * conditional).sum(-1)
        return Objective(log_likelihood - kl_weight * kl, -log_likelihood, kl)

    def _joined(self, z: Tensor, c: Tensor) -> Tensor:
        return torch.cat((z, self.one_hot[c]), dim=-1)

    def _draw(self, posterior: Posterior, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return z (L, 1, B, Z), categories (L, 1, B) and log q(z, c | x), (L, 1, B), from noise (L, 1, B, Z + 1)."""
        draw = posterior.z.draw(noise[..., : self.latent])
        c = draw_categories(posterior.log_categories, noise[:, 0, :, self.latent])[:, None]
        points = torch.arange(c.shape[-1], device=c.device)
        return draw.z, c, draw.log_mixture + posterior.log_categories[points, c]

    def log_terms(self, x: Tensor, posterior: Posterior, prior: DiagonalMixture, noise: Tensor) -> LogTerms:
        """Return the log-densities of x (B, D) at z and one-hot c made from noise (L, 1, B, Z + 1).

        Every weight is p(x|z,c) p(z|c) p(c) / (q(c|x) q(z|x)).
        """
        z, c, log_posterior = self._draw(posterior, noise)
        log_prior = gaussian_log_prob(z.to(prior.loc.dtype), prior.loc[c], prior.log_var[c]) - math.log(self.C)
        return LogTerms(self.log_likelihood(x, self._joined(z, c)), log_prior, log_posterior, log_posterior)

    def bridge(self, x: Tensor, prior: DiagonalMixture, given: Tensor) -> Bridge:
        """Return q(z | x) of x (B, D) and the joint density over z, with c summed out: every z is decoded once per category."""
        every = torch.arange(self.C, device=x.device)[:, None, None]

        def log_joint(z: Tensor) -> Tensor:
            z, c = z.expand(self.C, *z.shape), every.expand(self.C, *z.shape[:-1])
            log_prior = gaussian_log_prob(z.to(prior.loc.dtype), prior.loc[:, None, None], prior.log_var[:, None, None])
            log_likelihood = self.log_likelihood(x, self._joined(z, c), given=given).double()
            return (log_likelihood + log_prior).logsumexp(0) - math.log(self.C)

        return mixture_bridge(self.posterior(x).z, log_joint)._replace(passes=self.C)

    def simulate(self, given: Tensor, prior: DiagonalMixture) -> tuple[Tensor, Tensor]:
        """Return draws of x (N, D) and of the coordinates that the bridge of x is over, (N, Z)."""
        c = torch.randint(self.C, (len(given),), device=given.device)
        z = prior.sample_components(c).to(given.dtype)
        return self.draw_points(given, self._joined(z, c)), z

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and standard deviation of q(z | x), (1, B, Z) each."""
        q = self.posterior(x).z
        return q.mean, q.std

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return E[x' | z, c] at one sample of the posterior, (1, B, D)."""
        z, c, _ = self._draw(self.posterior(x), self.one_noise(x))
        return self.generate(self._joined(z, c)[0], x=x)

    @torch.no_grad()
    def marginal(self, x: Tensor) -> Tensor:
        """Return the aggregate posterior q(c) = 1/N sum_n q(c | x_n) (equation 14), (C,), of (N, D)."""
        return torch.cat([self.categories(chunk.to(self.one_hot.device)) for chunk in x.split(CHUNK)]).mean(0)

    def sample_of(self, c: Tensor) -> Tensor:
        """Return E[x | z, c] at one sample of p(z | c) for each category in (n,), as (n, D)."""
        return self.generate(self._joined(self.prior_distribution(self.one_hot.dtype).sample_components(c), c))

    def sample(self, n: int, categories: Tensor | None = None) -> Tensor:
        """Return E[x | z, c] at n samples, (n, D), for likelihoods that condition on z and c alone.

        Arguments:
            n: The number of samples.
            categories: (C,) probabilities of c, such as `marginal` gives; by default the prior's, which are equal.
        """
        weights = torch.ones_like(self.one_hot[0]) if categories is None else categories.to(self.one_hot.device)
        return self.sample_of(torch.multinomial(weights, n, replacement=True))
