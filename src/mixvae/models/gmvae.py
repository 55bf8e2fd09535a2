"""This file has the GMVAE, whose clusters are Gaussians made from a second latent code (Dilokthanakul et al., 2016)."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from mixvae.distributions.categorical import uniform_kl
from mixvae.distributions.gaussians import gaussian_kl, gaussian_log_prob
from mixvae.distributions.posteriors import GaussianMixture, clip
from mixvae.models.bridge import Bridge, mixture_bridge
from mixvae.models.decoding import ClusteringModel
from mixvae.models.objectives import LogTerms, Objective
from mixvae.nets import encoder, mlp
from mixvae.study.systems import GMVAE as Spec


class GMVAE(ClusteringModel):
    r"""p(x|z) p(z|c,w) p(w) p(c) with posterior q(z|x) q(w|x) p(c|z,w), the last in closed form.

    As in the paper and its authors' code, one encoder gives the Gaussians of z and w side by side, and one network with a wide
    affine last layer gives all K Gaussians p(z|c,w). (Their x is our z; that network's hidden layer is tanh there and gated
    here.) Training maximises the paper's terms, which estimate

        E log p(x|z) - E sum_c p(c|z,w) KL(q(z|x) || p(z|w,c)) - KL(q(w|x) || p(w)) - E KL(p(c|z,w) || p(c)).

    Evaluation uses importance weights of (z, w), with c summed out: log p(z|w) = log sum_c p(c) p(z|w,c). This bound is
    tighter: with the responsibilities r_c = p(c|z,w), a softmax of a_c = log p(z|w,c), it exceeds the paper's by
    sum_c Cov(r_c, a_c) over z ~ q(z|x), which is not negative since softmax is a monotone map, and is 0 for K = 1.

    The arguments are those of the contract; nothing is initialised from the training points x.
    """

    def __init__(self, spec: Spec, x: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__(spec, shape, (spec.latent,))
        self.latent_w, self.free_nats = spec.latent_w, spec.free_nats
        self.noise_size = spec.latent + spec.latent_w
        self.encoder = encoder(spec.encoder, 1, shape, 2 * self.noise_size)
        sizes = (spec.latent_w, *spec.mixture.hidden)
        self.mixture = mlp(nn.Linear, sizes, 2 * spec.K * spec.latent, spec.mixture.activation, spec.mixture.dropout)
        # every sample has Gaussians of its own for all clusters, and their density is in float64, which counts double
        self.width = max(self.decoder.width, 4 * spec.K * spec.latent, *(2 * width for width in spec.mixture.hidden))

    def components(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and clipped log-variances of p(z | c, w), (..., K, Z) each, for w (..., W)."""
        mean, log_var = self.mixture(w).view(*w.shape[:-1], 2, self.C, self.latent).unbind(-3)
        return mean, clip(log_var)

    def posterior(self, x: Tensor) -> GaussianMixture:
        """Return q(z, w | x) for (B, D): one Gaussian over z and w side by side, (1, B, Z + W)."""
        mean, log_var = self.encoder(self.likelihood.encoder_input(x)).chunk(2, dim=-1)
        return GaussianMixture(mean, clip(log_var))

    def prior_distribution(self, dtype: torch.dtype = torch.float32) -> Callable[[Tensor, Tensor], Tensor]:
        """Return log p(z, w) as a function of (..., Z) and (..., W); networks compute in the precision of their weights."""
        return partial(self._log_prior, dtype)

    def _log_prior(self, dtype: torch.dtype, z: Tensor, w: Tensor) -> Tensor:
        mean, log_var = (part.to(dtype) for part in self.components(w))
        log_components = gaussian_log_prob(z.to(dtype)[..., None, :], mean, log_var)
        w = w.to(dtype)
        log_w = gaussian_log_prob(w, torch.zeros_like(w), torch.zeros_like(w))
        return log_w + log_components.logsumexp(-1) - math.log(self.C)

    def _split(self, code: Tensor) -> tuple[Tensor, Tensor]:
        return code.split((self.latent, self.latent_w), dim=-1)

    def objective(self, x: Tensor, kl_weight: float | Tensor, noise: Tensor) -> Objective:
        """Return the paper's objective and its parts, (B,) each, averaged over the L samples.

        In the value, each point's KL of the categories counts as at least `free_nats`: the paper's minimum-information
        constraint. The authors' code cuts off the mean over a batch instead. The returned `kl` has no cut-off.
        """
        q = self.posterior(x)
        z, w = self._split(q.mean + q.std * noise)
        (mean_z, mean_w), (log_var_z, log_var_w) = self._split(q.mean[0]), self._split(q.log_var[0])
        log_likelihood = self.log_likelihood(x, z).mean((0, 1))
        mean, log_var = self.components(w)
        log_c = log_softmax(gaussian_log_prob(z[..., None, :], mean, log_var), dim=-1)
        conditional = gaussian_kl(mean_z[:, None], log_var_z[:, None], mean, log_var)
        continuous = (log_c.exp() * conditional).sum(-1).mean((0, 1))
        continuous = continuous + gaussian_kl(mean_w, log_var_w, torch.zeros_like(mean_w), torch.zeros_like(mean_w))
        discrete = uniform_kl(log_c).mean((0, 1))
        value = log_likelihood - kl_weight * (continuous + discrete.clamp(min=self.free_nats))
        return Objective(value, -log_likelihood, continuous + discrete)

    def log_terms(self, x: Tensor, posterior: GaussianMixture, prior: Callable, noise: Tensor) -> LogTerms:
        """Return the log-densities of x (B, D) at (z, w) made from noise (L, 1, B, Z + W), with the clusters summed out."""
        draw = posterior.draw(noise)
        z, w = self._split(draw.z)
        return LogTerms(self.log_likelihood(x, z), prior(z, w), draw.log_mixture, draw.log_component)

    def bridge(self, x: Tensor, prior: Callable, given: Tensor) -> Bridge:
        """Return the posterior of x (B, D) and the joint density over (z, w), with the clusters summed out."""

        def log_joint(code: Tensor) -> Tensor:
            z, w = self._split(code)
            return self.log_likelihood(x, z, given=given).double() + prior(z, w)

        return mixture_bridge(self.posterior(x), log_joint)

    def simulate(self, given: Tensor, prior: Callable) -> tuple[Tensor, Tensor]:
        """Return draws of x (N, D) and of the coordinates that the bridge of x is over, (N, Z + W)."""
        z, w = self._codes_of(torch.randint(self.C, (len(given),), device=given.device))
        return self.draw_points(given, z), torch.cat((z, w), dim=-1)

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and standard deviation of q(z | x), (1, B, Z) each."""
        q = self.posterior(x)
        return self._split(q.mean)[0], self._split(q.std)[0]

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return E[x' | z] at one sample of the posterior, (1, B, D)."""
        mean, std = self.codes(x)
        return self.generate(mean + std * torch.randn_like(mean), x=x)

    def categories(self, x: Tensor) -> Tensor:
        """Return p(c | z, w) at the means of q(z, w | x), (B, K), by which the authors' code assigns clusters."""
        z, w = self._split(self.posterior(x).mean[0])
        return gaussian_log_prob(z[:, None], *self.components(w)).softmax(-1)

    def sample_of(self, c: Tensor) -> Tensor:
        """Return E[x | z] at one sample of p(w) p(z | c, w) for each cluster in (n,), as (n, D)."""
        return self.generate(self._codes_of(c)[0])

    def _codes_of(self, c: Tensor) -> tuple[Tensor, Tensor]:
        """Draw z (n, Z) and w (n, W) from p(w) p(z | c, w) for each cluster in (n,)."""
        weight = self.mixture[-1].weight
        w = torch.randn(len(c), self.latent_w, dtype=weight.dtype, device=weight.device)
        mean, log_var = self.components(w)
        rows = torch.arange(len(c), device=c.device)
        mean, std = mean[rows, c], (0.5 * log_var[rows, c]).exp()
        return mean + std * torch.randn_like(mean), w
