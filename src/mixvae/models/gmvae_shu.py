"""This file has the GMVAE of Rui Shu's blog, whose posterior has a cluster that is summed over exactly (Shu, 2016)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import glu, log_softmax

from mixvae.distributions.categorical import INITIAL_SPREAD, draw_categories, uniform_kl
from mixvae.distributions.gaussians import DiagonalMixture, gaussian_kl, gaussian_log_prob
from mixvae.distributions.likelihoods import likelihood
from mixvae.distributions.posteriors import clip
from mixvae.distributions.priors import MixturePrior
from mixvae.models.objectives import LogTerms, Objective
from mixvae.nets import decoder, features, generate
from mixvae.study.systems import ShuGMVAE as Spec


class Posterior(NamedTuple):
    """log q(y | x), (B, K), and the means and log-variances of q(z | x, y) for all y, (K, B, Z) each."""

    log_categories: Tensor
    mean: Tensor
    log_var: Tensor


class ShuGMVAE(nn.Module):
    r"""p(x|z) p(z|y) p(y) with posterior q(y|x) q(z|x,y): p(y) = 1/K, p(z|y) a learnt Gaussian.

    From Rui Shu, "Gaussian mixture VAE: lessons in variational inference, generative models, and deep nets" (blog, 2016).
    Here q(y|x) and q(z|x,y) share the encoder's hidden layers h, and a gated layer over [h(x), one-hot y] makes the Gaussians
    of all y at once; in the blog q(y|x) and q(z|x,y) have networks of their own. Training maximises

        sum_y q(y|x) E_{q(z|x,y)}[log p(x|z) + log p(z|y) + log p(y) - log q(z|x,y) - log q(y|x)]

    with an exact sum over y, so that every point is decoded K times. The decoder does not read y, so evaluation can sum y out
    of both p(z) = 1/K sum_y p(z|y) and q(z|x) = sum_y q(y|x) q(z|x,y). The weights p(x|z) p(z) / q(z|x) give a tighter bound,
    since the KL between the marginals is at most that between the joints.

    The arguments are those of the contract; nothing is initialised from the training points x.
    """

    sampled_components = 1

    def __init__(self, spec: Spec, x: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.C, self.latent = spec.K, spec.latent
        self.noise_size = spec.latent + 1
        self.likelihood = likelihood(spec.likelihood, shape)
        self.decoder = decoder(spec.decoder, (spec.latent,), shape, self.likelihood.parameters_per_point)
        self.encoder, width = features(spec.encoder, 1, shape)
        self.category_logits = nn.Linear(width, spec.K)
        # an affine map of [h, one-hot y] is an affine map of h plus a vector per y, so h passes it once and not K times
        self.joint_of_x = nn.Linear(width, 2 * width)
        self.joint_of_y = nn.Linear(spec.K, 2 * width, bias=False)
        self.heads = nn.Linear(width, 2 * spec.latent)
        self.prior = MixturePrior(spec.latent, spec.K, INITIAL_SPREAD)
        self.width = max(self.decoder.width, spec.K * spec.latent, 2 * spec.K)

    def posterior(self, x: Tensor) -> Posterior:
        """Return q(y | x) and all q(z | x, y) for (B, D)."""
        hidden = self.encoder(self.likelihood.encoder_input(x))[0]
        joint = glu(self.joint_of_x(hidden) + self.joint_of_y.weight.T[:, None])
        mean, log_var = self.heads(joint).chunk(2, dim=-1)
        return Posterior(log_softmax(self.category_logits(hidden), dim=-1), mean, clip(log_var))

    def prior_distribution(self, dtype: torch.dtype = torch.float32) -> DiagonalMixture:
        """Return p(z), whose components are p(z | y), in `dtype`."""
        return self.prior(None, dtype)

    def _log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        return self.likelihood(self.decoder([z], x), x).log_prob(x)

    def objective(self, x: Tensor, kl_weight: float | Tensor, noise: Tensor) -> Objective:
        """Return the bound to maximise and its parts, (B,) each, averaged over the L samples.

        The KLs are in closed form; the blog samples that of z. All y share the noise of a sample, which leaves the expectation
        of the bound unchanged, since the bound is a sum over y.
        """
        log_categories, mean, log_var = self.posterior(x)
        prior = self.prior_distribution(x.dtype)
        q_y = log_categories.exp().T
        z = mean + (0.5 * log_var).exp() * noise[..., : self.latent]
        log_likelihood = (q_y * self._log_likelihood(x, z).mean(0)).sum(0)
        conditional = gaussian_kl(mean, log_var, prior.loc[:, None], prior.log_var[:, None])
        kl = uniform_kl(log_categories) + (q_y * conditional).sum(0)
        return Objective(log_likelihood - kl_weight * kl, -log_likelihood, kl)

    def _draw(self, posterior: Posterior, noise: Tensor) -> Tensor:
        """Return samples z of q(z | x), (L, 1, B, Z), from noise (L, 1, B, Z + 1): y is drawn first, then z given y."""
        y = draw_categories(posterior.log_categories, noise[:, 0, :, self.latent])[:, None]
        points = torch.arange(y.shape[-1], device=y.device)
        return posterior.mean[y, points] + (0.5 * posterior.log_var[y, points]).exp() * noise[..., : self.latent]

    def log_terms(self, x: Tensor, posterior: Posterior, prior: DiagonalMixture, noise: Tensor) -> LogTerms:
        """Return the log-densities of x (B, D) at z made from noise (L, 1, B, Z + 1), with y summed out."""
        z = self._draw(posterior, noise)
        log_z = gaussian_log_prob(z[..., None, :], posterior.mean.transpose(0, 1), posterior.log_var.transpose(0, 1))
        log_posterior = (posterior.log_categories + log_z).logsumexp(-1)
        return LogTerms(self._log_likelihood(x, z), prior.log_prob(z), log_posterior, log_posterior)

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and standard deviation of the whole mixture q(z | x), (1, B, Z) each.

        They are not given per cluster, since the Gaussians of clusters that q(y | x) rules out mean nothing.
        """
        log_categories, mean, log_var = self.posterior(x)
        q_y = log_categories.exp().T[..., None]
        centre = (q_y * mean).sum(0)
        return centre[None], (q_y * (log_var.exp() + (mean - centre).square())).sum(0).sqrt()[None]

    def expectation(self, x: Tensor, noise: Tensor) -> Tensor:
        """Return E_q[z | x], (B, Z), exactly; the noise is not used."""
        return self.codes(x)[0][0]

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return E[x' | z] at one sample of the posterior, (1, B, D)."""
        noise = torch.randn(1, 1, len(x), self.noise_size, dtype=x.dtype, device=x.device)
        return generate(self.decoder, self.likelihood, [self._draw(self.posterior(x), noise)[0]], x)

    def categories(self, x: Tensor) -> Tensor:
        """Return q(y | x), (B, K)."""
        return self.posterior(x).log_categories.exp()

    def sample(self, n: int) -> Tensor:
        """Return E[x | z] at n samples of the prior, (n, D), for likelihoods that condition on z alone."""
        return generate(self.decoder, self.likelihood, [self.prior_distribution(self.heads.weight.dtype).sample((n,))])

    def sample_category(self, category: int, n: int) -> Tensor:
        """Return E[x | z] at n samples of p(z | y) of one cluster, (n, D)."""
        weight = self.heads.weight
        z = self.prior_distribution(weight.dtype).sample_components(torch.full((n,), category, device=weight.device))
        return generate(self.decoder, self.likelihood, [z])
