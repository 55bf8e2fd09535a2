"""This file has the GMVAE, whose clusters are Gaussians made from a second code (Dilokthanakul et al., 2016)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from mixvae.distributions.categorical import uniform_kl
from mixvae.distributions.gaussians import gaussian_kl, gaussian_log_prob
from mixvae.distributions.likelihoods import likelihood
from mixvae.distributions.posteriors import GaussianMixture, clip
from mixvae.models.objectives import LogTerms, Objective
from mixvae.nets import decoder, encoder, generate, mlp
from mixvae.study.systems import GMVAE as Spec


class ConditionalMixture:
    """p(w) p(z|w) with p(w) = N(0, I) and p(z|w) = 1/K sum_c N(z; mu_c(w), diag s_c(w)^2).

    Arguments:
        components: The network, (..., W) -> means and log-variances, (..., K, Z) each.
        dtype: The precision of the densities; the network computes in the precision of its weights.
    """

    def __init__(self, components: Callable[[Tensor], tuple[Tensor, Tensor]], dtype: torch.dtype) -> None:
        self.components = components
        self.dtype = dtype

    def log_prob(self, z: Tensor, w: Tensor) -> Tensor:
        """Return log p(z, w) of (..., Z) and (..., W) as (...)."""
        mean, log_var = (part.to(self.dtype) for part in self.components(w))
        log_components = gaussian_log_prob(z.to(self.dtype)[..., None, :], mean, log_var)
        w = w.to(self.dtype)
        log_w = gaussian_log_prob(w, torch.zeros_like(w), torch.zeros_like(w))
        return log_w + log_components.logsumexp(-1) - math.log(mean.shape[-2])


class GMVAE(nn.Module):
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

    sampled_components = 1

    def __init__(self, spec: Spec, x: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.C, self.latent, self.latent_w, self.free_nats = spec.K, spec.latent, spec.latent_w, spec.free_nats
        self.noise_size = spec.latent + spec.latent_w
        self.likelihood = likelihood(spec.likelihood, shape)
        self.decoder = decoder(spec.decoder, (spec.latent,), shape, self.likelihood.parameters_per_point)
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

    def prior_distribution(self, dtype: torch.dtype = torch.float32) -> ConditionalMixture:
        """Return p(z, w), its density computed in `dtype`."""
        return ConditionalMixture(self.components, dtype)

    def _split(self, code: Tensor) -> tuple[Tensor, Tensor]:
        return code.split((self.latent, self.latent_w), dim=-1)

    def _log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        return self.likelihood(self.decoder([z], x), x).log_prob(x)

    def objective(self, x: Tensor, kl_weight: float | Tensor, noise: Tensor) -> Objective:
        """Return the paper's objective and its parts, (B,) each, averaged over the L samples.

        In the value, each point's KL of the categories counts as at least `free_nats`: the paper's minimum-information
        constraint. The authors' code cuts off the mean over a batch instead. The returned `kl` has no cut-off.
        """
        q = self.posterior(x)
        z, w = self._split(q.mean + q.std * noise)
        (mean_z, mean_w), (log_var_z, log_var_w) = self._split(q.mean[0]), self._split(q.log_var[0])
        log_likelihood = self._log_likelihood(x, z).mean((0, 1))
        mean, log_var = self.components(w)
        log_c = log_softmax(gaussian_log_prob(z[..., None, :], mean, log_var), dim=-1)
        conditional = gaussian_kl(mean_z[:, None], log_var_z[:, None], mean, log_var)
        continuous = (log_c.exp() * conditional).sum(-1).mean((0, 1))
        continuous = continuous + gaussian_kl(mean_w, log_var_w, torch.zeros_like(mean_w), torch.zeros_like(mean_w))
        discrete = uniform_kl(log_c).mean((0, 1))
        value = log_likelihood - kl_weight * (continuous + discrete.clamp(min=self.free_nats))
        return Objective(value, -log_likelihood, continuous + discrete)

    def log_terms(self, x: Tensor, posterior: GaussianMixture, prior: ConditionalMixture, noise: Tensor) -> LogTerms:
        """Return the log-densities of x (B, D) at (z, w) made from noise (L, 1, B, Z + W), with the clusters summed out."""
        draw = posterior.draw(noise)
        z, w = self._split(draw.z)
        return LogTerms(self._log_likelihood(x, z), prior.log_prob(z, w), draw.log_mixture, draw.log_component)

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and standard deviation of q(z | x), (1, B, Z) each."""
        q = self.posterior(x)
        return self._split(q.mean)[0], self._split(q.std)[0]

    def expectation(self, x: Tensor, noise: Tensor) -> Tensor:
        """Return E_q[z | x], (B, Z), exactly; the noise is not used."""
        return self.codes(x)[0][0]

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return E[x' | z] at one sample of the posterior, (1, B, D)."""
        mean, std = self.codes(x)
        return generate(self.decoder, self.likelihood, [mean + std * torch.randn_like(mean)], x)

    def categories(self, x: Tensor) -> Tensor:
        """Return p(c | z, w) at the means of q(z, w | x), (B, K), by which the authors' code assigns clusters."""
        z, w = self._split(self.posterior(x).mean[0])
        return gaussian_log_prob(z[:, None], *self.components(w)).softmax(-1)

    def _generate(self, c: Tensor) -> Tensor:
        weight = self.mixture[-1].weight
        mean, log_var = self.components(torch.randn(len(c), self.latent_w, dtype=weight.dtype, device=weight.device))
        rows = torch.arange(len(c), device=c.device)
        mean, std = mean[rows, c], (0.5 * log_var[rows, c]).exp()
        return generate(self.decoder, self.likelihood, [mean + std * torch.randn_like(mean)])

    def sample(self, n: int) -> Tensor:
        """Return E[x | z] at n samples of the prior, (n, D), for likelihoods that condition on z alone."""
        return self._generate(torch.randint(self.C, (n,), device=self.mixture[-1].weight.device))

    def sample_category(self, category: int, n: int) -> Tensor:
        """Return E[x | z] at n samples of p(w) p(z | c, w) of one cluster, (n, D)."""
        return self._generate(torch.full((n,), category, device=self.mixture[-1].weight.device))
