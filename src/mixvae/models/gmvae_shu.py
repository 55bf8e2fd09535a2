"""This file has the GMVAE of Rui Shu's blog, whose posterior has a cluster that is summed over exactly (Shu, 2016)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import glu

from mixvae.distributions.categorical import INITIAL_SPREAD, draw_categories, uniform_kl
from mixvae.distributions.gaussians import DiagonalMixture, gaussian_kl, gaussian_log_prob
from mixvae.distributions.posteriors import clip
from mixvae.distributions.priors import MixturePrior
from mixvae.models.bridge import Bridge
from mixvae.models.decoding import CategoryEncoder
from mixvae.models.objectives import LogTerms, Objective
from mixvae.study.systems import ShuGMVAE as Spec


class Posterior(NamedTuple):
    """log q(y | x), (B, K), and the means and log-variances of q(z | x, y) for all y, (K, B, Z) each."""

    log_categories: Tensor
    mean: Tensor
    log_var: Tensor


class ShuGMVAE(CategoryEncoder):
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

    def __init__(self, spec: Spec, x: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__(spec, shape, (spec.latent,))
        # an affine map of [h, one-hot y] is an affine map of h plus a vector per y, so h passes it once and not K times
        self.joint_of_x = nn.Linear(self.features, 2 * self.features)
        self.joint_of_y = nn.Linear(spec.K, 2 * self.features, bias=False)
        self.heads = nn.Linear(self.features, 2 * spec.latent)
        self.prior = MixturePrior(spec.latent, spec.K, INITIAL_SPREAD)
        self.width = max(self.decoder.width, spec.K * spec.latent, 2 * spec.K)

    def posterior(self, x: Tensor) -> Posterior:
        """Return q(y | x) and all q(z | x, y) for (B, D)."""
        hidden, log_categories = self.encode_categories(x)
        joint = glu(self.joint_of_x(hidden) + self.joint_of_y.weight.T[:, None])
        mean, log_var = self.heads(joint).chunk(2, dim=-1)
        return Posterior(log_categories, mean, clip(log_var))

    def objective(self, x: Tensor, kl_weight: float | Tensor, noise: Tensor) -> Objective:
        """Return the bound to maximise and its parts, (B,) each, averaged over the L samples.

        The KLs are in closed form; the blog samples that of z. All y share the noise of a sample, which leaves the expectation
        of the bound unchanged, since the bound is a sum over y.
        """
        log_categories, mean, log_var = self.posterior(x)
        prior = self.prior_distribution(x.dtype)
        q_y = log_categories.exp().T
        z = mean + (0.5 * log_var).exp() * noise[..., : self.latent]
        log_likelihood = (q_y * self.log_likelihood(x, z).mean(0)).sum(0)
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
        return LogTerms(self.log_likelihood(x, z), prior.log_prob(z), log_posterior, log_posterior)

    def bridge(self, x: Tensor, prior: DiagonalMixture, given: Tensor) -> Bridge:
        """Return the posterior of x (B, D) and the joint density over z, with y summed out."""
        q = self.posterior(x)
        mean, log_var, log_categories = q.mean[:, None].double(), q.log_var[:, None].double(), q.log_categories.T[:, None]

        def log_base(z: Tensor) -> Tensor:
            return (log_categories.double() + gaussian_log_prob(z.double(), mean, log_var)).logsumexp(0)

        def log_joint(z: Tensor) -> Tensor:
            return self.log_likelihood(x, z, given=given).double() + prior.log_prob(z)

        return Bridge(lambda noise: self._draw(q, noise[:, None])[:, 0], log_base, log_joint)

    def simulate(self, given: Tensor, prior: DiagonalMixture) -> tuple[Tensor, Tensor]:
        """Return draws of x (N, D) and of the coordinates that the bridge of x is over, (N, Z)."""
        z = prior.sample((len(given),)).to(given.dtype)
        return self.draw_points(given, z), z

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and standard deviation of the whole mixture q(z | x), (1, B, Z) each.

        They are not given per cluster, since the Gaussians of clusters that q(y | x) rules out mean nothing.
        """
        log_categories, mean, log_var = self.posterior(x)
        q_y = log_categories.exp().T[..., None]
        centre = (q_y * mean).sum(0)
        return centre[None], (q_y * (log_var.exp() + (mean - centre).square())).sum(0).sqrt()[None]

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return E[x' | z] at one sample of the posterior, (1, B, D)."""
        return self.generate(self._draw(self.posterior(x), self.one_noise(x))[0], x=x)

    def sample_of(self, c: Tensor) -> Tensor:
        """Return E[x | z] at one sample of p(z | y) for each cluster in (n,), as (n, D)."""
        return self.generate(self.prior_distribution(self.heads.weight.dtype).sample_components(c))
