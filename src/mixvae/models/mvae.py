"""M-VAE has K encoders, and K decoders whose weighted sum is its output (Ye & Bors, "Mixtures of Variational Autoencoders")."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Dirichlet, Distribution, Normal, kl_divergence
from torch.nn.functional import pad, softplus

from mixvae.distributions import priors
from mixvae.distributions.gaussians import gaussian_log_prob
from mixvae.distributions.likelihoods import likelihood
from mixvae.distributions.posteriors import clip
from mixvae.models.bridge import Bridge
from mixvae.models.dependence import STATISTICS, log_kernels, null
from mixvae.models.objectives import LogTerms, Objective
from mixvae.nets import decoders, encoder
from mixvae.seeds import derive
from mixvae.study.metrics import METRICS
from mixvae.study.systems import MVAE as Spec

CONCENTRATION_FLOOR = 0.01
"""The number added to softplus, since a Dirichlet needs positive parameters. With parameters well below it, samples and
gradients degenerate in float32 (a weight of 1e-38, a gradient of 1e5)."""
ASYMPTOTIC = -20.0
"""Where log g is below this, the distribution function of a gamma variable g is g^a / Gamma(a + 1) to nine digits."""
INDEPENDENCE_POINTS, PERMUTATIONS = 500, 100
"""The number of points that the reported dHSIC is measured on, and of permutations for its null."""


class Posterior(NamedTuple):
    """q(z_1..z_K, w | x).

    mean, log_var: (K, B, Z).
    concentration: a(x), (B, K); None for a single component, whose weight is 1.
    """

    mean: Tensor
    log_var: Tensor
    concentration: Tensor | None


class Prior(NamedTuple):
    """p(z_i), the same for every i, and the Dirichlet's a_0 as (K,), which is None for a single component."""

    codes: Distribution
    concentration: Tensor | None


def dirichlet_quantiles(noise: Tensor, concentration: Tensor) -> Tensor:
    """Turn standard normal noise (L, B, K) into log w with w ~ Dir(concentration (B, K)), (L, B, K) in float64.

    w consists of gamma variables, made by their quantile function at Phi(noise) and divided by their sum. It has no gradient,
    so it is for evaluation only. It is computed in logarithms, as a gamma variable with a small parameter is often below the
    smallest number, and each tail by its own quantile function, so that no probability rounds to 0 or 1.
    """
    from scipy import special

    noise_, a = noise.double().cpu().numpy(), concentration.double().cpu().numpy()
    a = np.broadcast_to(a, noise_.shape)
    log_gamma = (special.log_ndtr(noise_) + special.gammaln(a + 1)) / a  # exact for g -> 0, else a lower bound
    lower = (log_gamma > ASYMPTOTIC) & (noise_ < 0)
    upper = (log_gamma > ASYMPTOTIC) & (noise_ >= 0)
    log_gamma[lower] = np.log(special.gammaincinv(a[lower], special.ndtr(noise_[lower])))
    log_gamma[upper] = np.log(special.gammainccinv(a[upper], special.ndtr(-noise_[upper])))
    return torch.from_numpy(log_gamma).to(noise.device).log_softmax(-1)


def dirichlet_log_prob(log_w: Tensor, concentration: Tensor) -> Tensor:
    """Return log Dir(w; concentration) of log w (..., K) as (...); torch's own takes w, which may underflow."""
    a = concentration.to(log_w.dtype)
    return ((a - 1) * log_w).sum(-1) + a.sum(-1).lgamma() - a.lgamma().sum(-1)


class MVAE(nn.Module):
    r"""p(w) prod_i p(z_i) p(x | sum_i w_i d_i(z_i)) with posterior Dir(w | a(x)) prod_i q_i(z_i | x).

    Every likelihood depends on w and all z_i, so this is one latent-variable model and not a mixture of densities, and the K
    axis of its log-densities has size 1. Encoder i gives q_i and a_i (by softplus); the decoders' outputs, for images behind a
    sigmoid, are means of the Gaussian likelihood. With K = 1 there is no w, and the model is a plain VAE.

    The paper leaves open the prior of w, the likelihood's variance and the kernel. Here they are Dir(a0, .., a0), a fixed
    standard deviation, and Gaussian kernels with the median heuristic. At beta = 1 the dHSIC is a small term beside the
    log-likelihoods, which are sums over all D numbers of a point.

    The arguments are those of the contract; nothing is initialised from the training points x.
    """

    sampled_components = 1

    def __init__(self, spec: Spec, x: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.components, self.latent = spec.K, spec.latent
        self.weight_noise = spec.K if spec.K > 1 else 0  # how many normals w is made from
        self.noise_size = spec.K * spec.latent + self.weight_noise
        self.a0, self.dependence_weight, self.seed = spec.a0, spec.beta, spec.seed
        self.dependence = spec.dependence
        self.likelihood = likelihood(spec.likelihood, shape)
        outputs = self.likelihood.parameters_per_point
        self.decoders = decoders(spec.decoder, spec.K, spec.latent, shape, outputs)
        self.encoder = encoder(spec.encoder, spec.K, shape, 2 * spec.latent + (self.weight_noise > 0))
        self.prior = priors.build(spec.prior, spec.latent, None, self.likelihood)
        self.squash = torch.sigmoid if len(shape) == 3 else nn.Identity()
        self.width = max(spec.K * self.decoders.width, 2 * self.noise_size)

    def posterior(self, x: Tensor) -> Posterior:
        """Return q(z_1..z_K, w | x) for (B, D)."""
        h = self.encoder(self.likelihood.encoder_input(x))
        mean, log_var, a = h.split((self.latent, self.latent, h.shape[-1] - 2 * self.latent), dim=-1)
        concentration = softplus(a.squeeze(-1).T) + CONCENTRATION_FLOOR if self.weight_noise else None
        return Posterior(mean, clip(log_var), concentration)

    def prior_distribution(self, dtype: torch.dtype = torch.float32) -> Prior:
        """Return p(z_i) and the parameter of p(w), with densities computed in `dtype`."""
        zeros = self.prior.zeros
        concentration = zeros.new_full((self.weight_noise,), self.a0, dtype=dtype) if self.weight_noise else None
        return Prior(self.prior(None, dtype), concentration)

    def component_means(self, z: Tensor) -> Tensor:
        """Return d_i(z_i) of (..., K, B, Z) as (..., K, B, D)."""
        return self.squash(self.decoders(z))

    def mixture(self, z: Tensor, w: Tensor | None) -> Distribution:
        """Return p(x | z, w) for z (..., K, B, Z) and w (..., B, K), batch shape (..., B)."""
        means = self.component_means(z)
        mean = means.squeeze(-3) if w is None else torch.einsum("...bk,...kbd->...bd", w.to(means.dtype), means)
        return self.likelihood(mean, None)

    def _draw(self, posterior: Posterior, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return samples z (L, K, B, Z) made from noise (L, 1, B, K Z + K), and the rest of the noise, for w, (L, B, K)."""
        of_z, of_w = noise.squeeze(1).split((self.components * self.latent, self.weight_noise), dim=-1)
        of_z = of_z.unflatten(-1, (self.components, self.latent)).transpose(1, 2)
        return posterior.mean + (0.5 * posterior.log_var).exp() * of_z, of_w

    def objective(self, x: Tensor, kl_weight: float | Tensor, noise: Tensor) -> Objective:
        """Return MELBO (eq. 8) minus the dependence term (eq. 14) and MELBO's parts, (B,) each.

        The divergences are in closed form. The reconstruction is made from noise (L, 1, B, K Z + K), whose last K numbers are
        not used, since w is drawn by torch's own reparametrisation. The batch's one dHSIC is subtracted from every value.
        """
        q, p = self.posterior(x), self.prior_distribution()
        z, _ = self._draw(q, noise)
        q_z = Normal(q.mean, (0.5 * q.log_var).exp(), validate_args=False)
        kl = kl_divergence(q_z, p.codes.base_dist).sum((0, 2))
        w = None
        if self.weight_noise:
            q_w = Dirichlet(q.concentration, validate_args=False)
            w = q_w.rsample(noise.shape[:1])
            kl = kl + kl_divergence(q_w, Dirichlet(p.concentration, validate_args=False))
        reconstruction = -self.mixture(z, w).log_prob(x).mean(0)
        value = -reconstruction - kl_weight * kl
        if self.weight_noise and self.dependence_weight:
            value = value - self.dependence_weight * STATISTICS[self.dependence](log_kernels(z)).mean()
        return Objective(value, reconstruction, kl)

    def log_terms(self, x: Tensor, posterior: Posterior, prior: Prior, noise: Tensor) -> LogTerms:
        """Return the log-densities of x (B, D) at samples made from noise (L, 1, B, K Z + K), each (L, 1, B).

        Here w is a function of the noise, by the quantiles of gamma variables: see `dirichlet_quantiles`.
        """
        z, noise_of_w = self._draw(posterior, noise)
        log_prior = prior.codes.log_prob(z).sum(1)
        log_posterior = gaussian_log_prob(z, posterior.mean, posterior.log_var).sum(1)
        w = None
        if self.weight_noise:
            log_w = dirichlet_quantiles(noise_of_w, posterior.concentration)
            w = log_w.exp()
            log_prior = log_prior + dirichlet_log_prob(log_w, prior.concentration)
            log_posterior = log_posterior + dirichlet_log_prob(log_w, posterior.concentration)
        terms = (self.mixture(z, w).log_prob(x), log_prior, log_posterior, log_posterior)
        return LogTerms(*(term[:, None] for term in terms))

    def bridge(self, x: Tensor, prior: Prior, given: Tensor) -> Bridge:
        """Return the posterior of x (B, D) and the joint density over all z_i and the additive logistic coordinates of w.

        These are y_i = log w_i / w_K for i < K (Aitchison, 1982), in which a density of w counts prod_i w_i times.
        """
        q, sizes = self.posterior(x), (self.components * self.latent, max(0, self.weight_noise - 1))

        def start(noise: Tensor) -> Tensor:
            z, of_w = self._draw(q, noise[:, None, :, : self.noise_size])
            codes = z.transpose(1, 2).flatten(2)
            if not self.weight_noise:
                return codes
            log_w = dirichlet_quantiles(of_w, q.concentration)
            return torch.cat((codes, (log_w[..., :-1] - log_w[..., -1:]).to(codes.dtype)), dim=-1)

        def split(u: Tensor) -> tuple[Tensor, Tensor | None]:
            codes, y = u.split(sizes, dim=-1)
            log_w = pad(y.double(), (0, 1)).log_softmax(-1) if self.weight_noise else None
            return codes.unflatten(-1, (self.components, self.latent)).transpose(1, 2), log_w

        def of_weights(log_w: Tensor | None, concentration: Tensor | None) -> Tensor | float:
            return 0.0 if log_w is None else dirichlet_log_prob(log_w, concentration) + log_w.sum(-1)

        def log_base(u: Tensor) -> Tensor:
            z, log_w = split(u)
            log_codes = gaussian_log_prob(z.double(), q.mean.double(), q.log_var.double()).sum(1)
            return log_codes + of_weights(log_w, q.concentration)

        def log_joint(u: Tensor) -> Tensor:
            z, log_w = split(u)
            log_likelihood = self.mixture(z, None if log_w is None else log_w.exp()).log_prob(x).double()
            return log_likelihood + prior.codes.log_prob(z).sum(1) + of_weights(log_w, prior.concentration)

        return Bridge(start, log_base, log_joint)

    def simulate(self, given: Tensor, prior: Prior) -> tuple[Tensor, Tensor]:
        """Return draws of x (N, D) and of the coordinates that the bridge of x is over, (N, K Z + K - 1)."""
        z, w = self._prior_codes(prior, len(given))
        u = z.transpose(0, 1).flatten(1)
        if w is not None:
            u = torch.cat((u, (w[:, :-1].log() - w[:, -1:].log()).to(u.dtype)), dim=-1)
        return self.mixture(z, w).sample(), u

    def _prior_codes(self, prior: Prior, n: int) -> tuple[Tensor, Tensor | None]:
        """Draw n codes z (K, n, Z) and weights w (n, K)."""
        w = Dirichlet(prior.concentration).sample((n,)) if self.weight_noise else None
        return prior.codes.sample((self.components, n)).to(self.prior.zeros.dtype), w

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and standard deviations of q_i(z_i | x), (K, B, Z) each."""
        q = self.posterior(x)
        return q.mean, (0.5 * q.log_var).exp()

    def expectation(self, x: Tensor, noise: Tensor) -> Tensor:
        """Return E_q[(z_1, .., z_K) | x], (B, K Z), exactly; the noise is not used."""
        return self.posterior(x).mean.transpose(0, 1).flatten(1)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the mixture's output at the posterior means of all z_i and of w, (1, B, D)."""
        q = self.posterior(x)
        w = q.concentration / q.concentration.sum(-1, keepdim=True) if self.weight_noise else None
        return self.mixture(q.mean, w).mean[None]

    def reconstruct_components(self, x: Tensor) -> Tensor:
        """Return the output of every component with weight 1 at the posterior means (the paper's Fig. 2), (K, B, D)."""
        return self.component_means(self.posterior(x).mean)

    def sample(self, n: int) -> Tensor:
        """Return E[x | z, w] at n draws of the prior, (n, D)."""
        return self.mixture(*self._prior_codes(self.prior_distribution(), n)).mean

    @torch.no_grad()
    def extra_metrics(self, x: Tensor) -> dict[str, tuple[float | None, str]]:
        """Return the dependence of the latent codes of test points (N, D) and its permutation null; {} for one component.

        `dhsic` is the joint dependence and `hsic_pairs` the sum over pairs, each with the median and the 95 % quantile of its
        null. They are measured on a sample of the codes of the first 500 points.
        """
        if not self.weight_noise:
            return {}
        q = self.posterior(x[:INDEPENDENCE_POINTS].to(self.prior.zeros.device))
        # noise drawn on the CPU and kernels in float64 give the same numbers on every device
        generator = torch.Generator().manual_seed(derive(self.seed, "independence"))
        noise = torch.randn(1, 1, q.mean.shape[1], self.noise_size, generator=generator).to(q.mean.device)
        log_k, result = log_kernels(self._draw(q, noise)[0][0].double()), {}
        for name, dependence in (("dhsic", "joint"), ("hsic_pairs", "pairs")):
            values = null(log_k, PERMUTATIONS, derive(self.seed, "independence", 1), dependence)
            result[name] = STATISTICS[dependence](log_k)
            result[f"{name}_null_median"], result[f"{name}_null_95"] = values.median(), values.quantile(0.95)
        return {name: (value.item(), METRICS[name].unit) for name, value in result.items()}
