"""The mixture VAE and the hierarchical one, component by component, and their evaluation, sample by sample."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import hardtanh

from benchmarks.naive import densities
from benchmarks.naive.networks import Copies, decoder, network
from mixvae.models.hvae import HierarchicalVAE as LibraryHierarchicalVAE
from mixvae.models.objectives import LogTerms
from mixvae.models.vae import MixtureVAE as LibraryMixtureVAE


def gaussian(parameters: Tensor) -> Normal:
    """Return N(mu, diag s^2) of a network's output (..., 2Z), mu beside log s^2."""
    mean, log_var = parameters.chunk(2, dim=-1)
    return Normal(mean, (0.5 * hardtanh(log_var, -6.0, 2.0)).exp())


class _Naive(nn.Module):
    """What both models share.

    prior_once: Whether a VampPrior's pseudo-inputs are encoded once per step, or anew for every component's samples, which is what comes of
        a function log p(z) that is called in the loop.
    """

    prior_once = True

    def __init__(self, model: LibraryMixtureVAE | LibraryHierarchicalVAE) -> None:
        super().__init__()
        self.copies, self.K = Copies(), model.sampled_components
        self.decoder = decoder(self.copies, model.decoder)
        self.flow = densities.flow(self.copies, model.flow, self.K)
        self.likelihood = densities.likelihood(self.copies, model.likelihood)

    def given_prior(self) -> Any:
        """Return what the prior's density needs and no sample changes."""
        return self.prior(self.encode)

    def objective(self, x: Tensor, beta: float, noise: Tensor) -> Tensor:
        """Return the points' mean of 1/K sum_k log 1/L sum_l p(x|z) (p(z) / q(z|x))^beta for noise (L, K, B, Z)."""
        terms = self.log_terms(x, self.posterior(x), self.given_prior() if self.prior_once else None, noise)
        log_weights = terms.log_likelihood + beta * (terms.log_prior - terms.log_mixture)
        return (torch.logsumexp(log_weights, 0) - math.log(len(noise))).mean()

    def log_terms(self, x: Tensor, posterior: list[Any], given: Any, noise: Tensor) -> LogTerms:
        """Return the log-densities of x (B, D) at samples made from noise (L, K, B, Z)."""
        terms = [
            self.terms_of(k, x, posterior, given if self.prior_once else self.given_prior(), noise[:, k]) for k in range(self.K)
        ]
        return LogTerms(*(torch.stack(parts, dim=1) for parts in zip(*terms, strict=True)))


class MixtureVAE(_Naive):
    """A VAE of K encoders, in a loop."""

    def __init__(self, model: LibraryMixtureVAE) -> None:
        super().__init__(model)
        self.encoders = nn.ModuleList(network(self.copies, model.encoder, k) for k in range(self.K))
        self.prior = densities.prior(self.copies, model.prior, self.likelihood.constrain, self.flow)

    def encode(self, inputs: Tensor) -> list[Normal]:
        """Return every component's Gaussian of inputs (B, D), (B, Z) each."""
        return [gaussian(encoder(inputs)) for encoder in self.encoders]

    def posterior(self, x: Tensor) -> list[Normal]:
        return self.encode(self.likelihood.encoder_input(x))

    def terms_of(self, k: int, x: Tensor, posterior: list[Normal], given: Any, noise: Tensor) -> tuple[Tensor, ...]:
        """Return the log-densities at samples of component k, (L, B) each, from noise (L, B, Z)."""
        z, seen = self.flow.push(k, posterior[k].loc + posterior[k].scale * noise)
        log_components = []
        for q, (base, log_det) in zip(posterior, seen, strict=True):
            log_components.append(q.log_prob(base).sum(-1) - log_det)
        log_mixture = torch.logsumexp(torch.stack(log_components), 0) - math.log(self.K)
        log_likelihood = self.likelihood.log_prob(self.decoder([z], x), x)
        return log_likelihood, self.prior.log_prob(given, z), log_mixture, log_components[k]


class LowerEncoder(nn.Module):
    """One component's q(z1 | x, z2)."""

    def __init__(self, copies: Copies, lower: nn.Module, k: int) -> None:
        super().__init__()
        self.of_x = network(copies, lower.of_x, k)
        self.of_top = network(copies, lower.of_top, k)
        self.heads = network(copies, lower.heads, k)

    def forward(self, of_x: Tensor, top: Tensor) -> Normal:
        """Return the Gaussian of z1, (L, B, Z1), for what was read off x (B, F) and z2 (L, B, Z2)."""
        joint = torch.cat((of_x.expand(*top.shape[:-1], -1), self.of_top(top)), dim=-1)
        return gaussian(self.heads(joint))


class HierarchicalVAE(_Naive):
    """Two stochastic layers: all K lower encoders read the z2 of all K components, in two loops."""

    def __init__(self, model: LibraryHierarchicalVAE) -> None:
        super().__init__(model)
        self.sizes = (model.latent, model.latent_top)
        self.uppers = nn.ModuleList(network(self.copies, model.upper, k) for k in range(self.K))
        self.lowers = nn.ModuleList(LowerEncoder(self.copies, model.lower, k) for k in range(self.K))
        self.conditional = network(self.copies, model.conditional)
        # the prior is that of z2, on which no flow acts
        self.prior = densities.prior(self.copies, model.prior, self.likelihood.constrain, densities.NoFlow(self.K))

    def encode(self, inputs: Tensor) -> list[Normal]:
        """Return every component's Gaussian of z2."""
        return [gaussian(upper(inputs)) for upper in self.uppers]

    def posterior(self, x: Tensor) -> list[tuple[Normal, Tensor]]:
        """Return every component's Gaussian of z2, and what its lower encoder reads off x."""
        inputs = self.likelihood.encoder_input(x)
        return list(zip(self.encode(inputs), [lower.of_x(inputs) for lower in self.lowers], strict=True))

    def terms_of(self, k: int, x: Tensor, posterior: list[Any], given: Any, noise: Tensor) -> tuple[Tensor, ...]:
        noise1, noise2 = noise.split(self.sizes, dim=-1)
        z2 = posterior[k][0].loc + posterior[k][0].scale * noise2
        lowers = [lower(of_x, z2) for lower, (_, of_x) in zip(self.lowers, posterior, strict=True)]
        z1, seen = self.flow.push(k, lowers[k].loc + lowers[k].scale * noise1)
        log_components = []
        for (upper, _), lower, (base, log_det) in zip(posterior, lowers, seen, strict=True):
            log_components.append(upper.log_prob(z2).sum(-1) + lower.log_prob(base).sum(-1) - log_det)
        log_mixture = torch.logsumexp(torch.stack(log_components), 0) - math.log(self.K)
        log_prior = self.prior.log_prob(given, z2) + gaussian(self.conditional(z2)).log_prob(z1).sum(-1)
        log_likelihood = self.likelihood.log_prob(self.decoder([z1, z2], x), x)
        return log_likelihood, log_prior, log_mixture, log_components[k]


def naive_of(model: nn.Module) -> _Naive:
    """Return the naive model with the weights of one of the library's, on its device and in its precision."""
    naive = {LibraryMixtureVAE: MixtureVAE, LibraryHierarchicalVAE: HierarchicalVAE}[type(model)](model)
    return naive.to(next(model.parameters()).device)


@torch.no_grad()
def evaluate(model: _Naive, x: Tensor, samples: int, noise_size: int, batch: int = 100, noise: Tensor | None = None) -> dict:
    """Return elbo, nll and nll_miselbo of every point of (N, D), from one sample per component after the other.

    Arguments:
        samples: L, how many.
        noise_size: Z, numbers of noise per sample.
        batch: Points at once.
        noise: (L, K, N, Z), drawn where there is none.
    """
    model.eval()
    given = model.given_prior()
    results = []
    for start in range(0, len(x), batch):
        points = x[start : start + batch]
        posterior = model.posterior(points)
        log_weights = []
        for sample in range(samples):
            if noise is None:
                drawn = torch.randn(1, model.K, len(points), noise_size, device=x.device, dtype=x.dtype)
            else:
                drawn = noise[sample : sample + 1, :, start : start + batch]
            terms = model.log_terms(points, posterior, given, drawn)
            log_weights.append(terms.log_weights())
        pooled = torch.cat(log_weights)
        results.append((
            pooled.mean((0, 1)),
            math.log(samples * model.K) - torch.logsumexp(pooled, (0, 1)),
            math.log(samples) - torch.logsumexp(pooled, 0).mean(0),
        ))  # fmt: skip
    return {
        name: torch.cat(parts) for name, parts in zip(("elbo", "nll", "nll_miselbo"), zip(*results, strict=True), strict=True)
    }
