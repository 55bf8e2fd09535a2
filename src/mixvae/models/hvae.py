"""This file has the hierarchical mixture VAE: two stochastic layers, a mixture over both as posterior (Kviman et al., 2023)."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from mixvae.distributions import flows, priors
from mixvae.distributions.coordinates import Coordinates
from mixvae.distributions.gaussians import gaussian_log_prob, log_mixture
from mixvae.distributions.posteriors import GaussianMixture, clip, own_component
from mixvae.models.bridge import Bridge, choose, picked
from mixvae.models.decoding import DecodingModel
from mixvae.models.objectives import LogTerms
from mixvae.models.vae import pseudo_inputs, sample_width
from mixvae.nets import BatchedLinear, encoder, features, mlp
from mixvae.study.systems import HierarchicalVAE as Spec


class Posterior(NamedTuple):
    """q(z2 | x), and the features of x that q(z1 | x, z2) reads, (K, B, F)."""

    top: GaussianMixture
    features: Tensor


class _LowerEncoder(nn.Module):
    """The encoders q_j(z1 | x, z2) of all K components: a part reads x, a part reads z2, and a gated layer joins them."""

    def __init__(self, spec: Spec, shape: tuple[int, ...]) -> None:
        super().__init__()
        gated = partial(mlp, partial(BatchedLinear, spec.K), activation="gated", dropout=0.0)
        self.of_x, width = features(spec.lower, spec.K, shape)
        self.of_top = nn.Sequential(BatchedLinear(spec.K, spec.latent_top, 2 * width), nn.GLU())
        self.heads = gated((2 * width, spec.joint), 2 * spec.latent)

    def forward(self, of_x: Tensor, top: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and clipped log-variances of z1, (K, N, B, Z1) each, for features (K, B, F) and z2 (N, B, Z2)."""
        J, B, F = of_x.shape
        N = len(top)
        of_top = self.of_top(top.reshape(N * B, -1))
        joint = torch.cat((of_x[:, None].expand(J, N, B, F).reshape(J, N * B, F), of_top), dim=-1)
        mean, log_var = self.heads(joint).view(J, N, B, -1).chunk(2, dim=-1)
        return mean, clip(log_var)


class HierarchicalVAE(DecodingModel):
    r"""p(x|z1,z2) p(z1|z2) p(z2) with posterior 1/K sum_k q_k(z2|x) q_k(z1|x,z2).

    The mixture is over (z1, z2) jointly: the density of a sample of component k under component j is q_j(z2_k|x)
    q_j(z1_k|x,z2_k), so the lower encoders of all j read the z2 of all k. The run's prior is that of z2; a flow acts on z1.
    With a VampPrior, an IAF and a PixelCNN decoder it is the composite model of the paper.

    The arguments are those of the contract; a VampPrior's pseudo-inputs start from the training points x.
    """

    def __init__(self, spec: Spec, x: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__(spec, shape, (spec.latent, spec.latent_top))
        self.sampled_components, self.latent, self.latent_top = spec.K, spec.latent, spec.latent_top
        self.noise_size = spec.latent + spec.latent_top
        # like the decoder, p(z1 | z2) is built before all that depends on K
        sizes = (spec.latent_top, *spec.conditional.hidden)
        self.conditional = mlp(nn.Linear, sizes, 2 * spec.latent, spec.conditional.activation, spec.conditional.dropout)
        self.upper = encoder(spec.encoder, spec.K, shape, 2 * spec.latent_top)
        self.lower = _LowerEncoder(spec, shape)
        self.flow = flows.build(spec.flow, spec.K, spec.latent)
        inputs = partial(pseudo_inputs, x, spec.seed, self.likelihood.encoder_input)
        self.prior = priors.build(spec.prior, spec.latent_top, inputs, self.likelihood)
        width = sample_width(spec.K, self.noise_size, self.decoder, self.prior)
        self.width = max(width, spec.K * 4 * spec.joint)

    def encode(self, inputs: Tensor) -> GaussianMixture:
        """Return q(z2 | x) for (B, D) in the encoder's input space."""
        mean, log_var = self.upper(inputs).chunk(2, dim=-1)
        return GaussianMixture(mean, clip(log_var))

    def posterior(self, x: Tensor) -> Posterior:
        """Return q(z2 | x) and the features for q(z1 | x, z2), for (B, D)."""
        inputs = self.likelihood.encoder_input(x)
        return Posterior(self.encode(inputs), self.lower.of_x(inputs))

    def draw(self, posterior: Posterior, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return z1 (L, K, B, Z1), z2 (L, K, B, Z2) and their log-density under every component, (J, L, K, B)."""
        L, K, B, _ = noise.shape
        noise1, noise2 = noise.split((self.latent, self.latent_top), dim=-1)
        top = posterior.top.draw(noise2)
        mean, log_var = (part.view(K, L, K, B, -1) for part in self.lower(posterior.features, top.z.reshape(L * K, B, -1)))
        # a sample of component k is drawn from k's own Gaussian: entries (k, l, k, b)
        own_mean, own_log_var = (part.diagonal(dim1=0, dim2=2).movedim(-1, 1) for part in (mean, log_var))
        z1, base, log_det = self.flow.push(own_mean + (0.5 * own_log_var).exp() * noise1)
        return z1, top.z, top.log_components + gaussian_log_prob(base, mean, log_var) - log_det

    def log_terms(self, x: Tensor, posterior: Posterior, prior: Distribution, noise: Tensor) -> LogTerms:
        """Return the log-densities of x (B, D) at samples made from noise (L, K, B, Z1 + Z2)."""
        z1, z2, log_components = self.draw(posterior, noise)
        log_likelihood = self.log_likelihood(x, z1, z2)  # before the prior, since gradients are added in reverse order
        mean, log_var = self._lower_prior(z2)
        log_prior = prior.log_prob(z2) + gaussian_log_prob(z1, mean, log_var)
        return LogTerms(log_likelihood, log_prior, log_mixture(log_components), own_component(log_components))

    def _lower_prior(self, z2: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = self.conditional(z2).chunk(2, dim=-1)
        return mean, clip(log_var)

    def bridge(self, x: Tensor, prior: Distribution, given: Tensor) -> Bridge:
        """Return the posterior of x (B, D) and the joint density over (z1, z2); of z1 it has the coordinates before a shared flow."""
        q, coordinates = self.posterior(x), Coordinates(self.flow)
        sizes = self.latent, self.latent_top

        def start(noise: Tensor) -> Tensor:
            noise1, noise2, of_component = noise.split((*sizes, 1), dim=-1)
            k = choose(of_component[..., 0], self.sampled_components)
            z2 = picked(q.top.mean, k) + picked(q.top.std, k) * noise2
            mean, log_var = (
                part.gather(0, k[None, ..., None].expand(1, *part.shape[1:]))[0] for part in self.lower(q.features, z2)
            )
            return torch.cat((coordinates.of_base(mean + (0.5 * log_var).exp() * noise1, k), z2), dim=-1)

        def log_base(u: Tensor) -> Tensor:
            u1, z2 = u.split(sizes, dim=-1)
            base, log_det = coordinates.base(u1)
            lower = (part.double() for part in self.lower(q.features, z2))
            upper = (part[:, None].double() for part in (q.top.mean, q.top.log_var))
            log_components = gaussian_log_prob(z2.double(), *upper) + gaussian_log_prob(base.double(), *lower) - log_det
            return log_mixture(log_components)

        def log_joint(u: Tensor) -> Tensor:
            u1, z2 = u.split(sizes, dim=-1)
            z1, log_det = coordinates.codes(u1)
            log_prior = prior.log_prob(z2) + gaussian_log_prob(z1.double(), *(part.double() for part in self._lower_prior(z2)))
            return self.log_likelihood(x, z1, z2, given=given).double() + log_prior + log_det

        return Bridge(start, log_base, log_joint)

    def simulate(self, given: Tensor, prior: Distribution) -> tuple[Tensor, Tensor]:
        """Return draws of x (N, D) and of the coordinates that the bridge of x is over, (N, Z1 + Z2)."""
        z1, z2 = self._prior_codes(prior, len(given))
        return self.draw_points(given, z1, z2), torch.cat((Coordinates(self.flow).of_codes(z1), z2), dim=-1)

    def _prior_codes(self, prior: Distribution, n: int) -> tuple[Tensor, Tensor]:
        """Draw n codes z1 and z2, (n, Z1) and (n, Z2)."""
        z2 = prior.sample((n,)).to(self.dtype)
        mean, log_var = self._lower_prior(z2)
        return mean + (0.5 * log_var).exp() * torch.randn_like(mean), z2

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and standard deviations of q_k(z2|x) and of q_k(z1|x, E z2) side by side, (K, B, Z1 + Z2) each."""
        posterior = self.posterior(x)
        top = posterior.top.mean
        mean, log_var = self.lower(posterior.features, top)
        # component k reads its own z2: entries (k, k, b)
        mean, log_var = (part.diagonal(dim1=0, dim2=1).movedim(-1, 0) for part in (mean, log_var))
        return torch.cat((mean, top), dim=-1), torch.cat(((0.5 * log_var).exp(), posterior.top.std), dim=-1)

    def expectation(self, x: Tensor, noise: Tensor) -> Tensor:
        """Return a Monte Carlo estimate of E_q[(z1, z2) | x], (B, Z1 + Z2), from noise (L, K, B, Z1 + Z2)."""
        z1, z2, _ = self.draw(self.posterior(x), noise)
        return torch.cat((z1, z2), dim=-1).mean((0, 1))

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return E[x' | z1, z2] at one sample of every component, (K, B, D); a PixelCNN gives draws of x'."""
        z1, z2, _ = self.draw(self.posterior(x), self.one_noise(x))
        return self.generate(z1[0], z2[0], x=x)

    def sample(self, n: int) -> Tensor:
        """Return E[x | z1, z2] at n samples of the prior, (n, D), for likelihoods that condition on the codes alone."""
        return self.generate(*self._prior_codes(self.prior_distribution(), n))
