"""This file has the base classes of models with one decoder: all, those with categories, and those that encode categories."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import log_softmax

from mixvae.distributions.likelihoods import likelihood
from mixvae.models.objectives import Objective, bound
from mixvae.nets import decoder, features, generate
from mixvae.study import Run


class DecodingModel(nn.Module):
    """A model p(x | codes) p(codes) that maximises the bound of its log-densities, unless it has an objective of its own.

    Arguments:
        spec, shape: As in the contract.
        latents: The dimension of each code that the decoder reads.
    """

    encode = None
    """Maps the encoder's input space to the posterior of the codes that `prior` is over; only a VampPrior calls it."""

    def __init__(self, spec: Run, shape: tuple[int, ...], latents: Sequence[int]) -> None:
        super().__init__()
        self.likelihood = likelihood(spec.likelihood, shape)
        # the decoder is built before all that depends on K, so that its initial weights do not
        self.decoder = decoder(spec.decoder, latents, shape, self.likelihood.parameters_per_point)

    def prior_distribution(self, dtype: torch.dtype = torch.float32) -> Distribution:
        """Return the prior, with its density computed in `dtype`."""
        return self.prior(self.encode, dtype)

    def objective(self, x: Tensor, kl_weight: float | Tensor, noise: Tensor) -> Objective:
        """Return the bound to maximise and its parts, (B,) each."""
        return bound(self.log_terms(x, self.posterior(x), self.prior_distribution(), noise), kl_weight)

    def log_likelihood(self, x: Tensor, *codes: Tensor, given: Tensor | None = None) -> Tensor:
        """Return log p(x | codes) of x (B, D) at codes of (..., B, Z_i) as (..., B).

        Arguments:
            given: (B, D) points that a likelihood conditions on instead of x, for an x that was simulated: see `draw_points`.
        """
        return self.likelihood(self.decoder(codes, x), x if given is None else given).log_prob(x)

    @torch.no_grad()
    def draw_points(self, given: Tensor, *codes: Tensor) -> Tensor:
        """Return one draw of x for each of the codes (N, Z_i), as (N, D).

        Arguments:
            given: (N, D) points that a likelihood conditions on, such as on the library size of counts.
        """
        if hasattr(self.decoder, "sample"):
            return self.decoder.sample(codes)
        return self.likelihood(self.decoder(codes, given), given).sample()

    def generate(self, *codes: Tensor, x: Tensor | None = None) -> Tensor:
        """Return E[x | codes] or draws of x, see `mixvae.nets.generate`."""
        return generate(self.decoder, self.likelihood, codes, x)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next(self.parameters()).dtype

    def one_noise(self, x: Tensor) -> Tensor:
        """Return the noise of one sample of every component for x (B, D), (1, sampled_components, B, noise_size)."""
        return torch.randn(1, self.sampled_components, len(x), self.noise_size, dtype=x.dtype, device=x.device)


class ClusteringModel(DecodingModel):
    """A model of C equally likely categories, which its log-densities sum out, or draw together with the latent codes.

    A subclass has `sample_of`, which returns E[x | z] at one sample for each category in (n,), as (n, D).
    """

    sampled_components = 1

    def __init__(self, spec: Run, shape: tuple[int, ...], latents: Sequence[int]) -> None:
        super().__init__(spec, shape, latents)
        self.C, self.latent = spec.K, spec.latent

    def expectation(self, x: Tensor, noise: Tensor) -> Tensor:
        """Return E_q[z | x], (B, Z), exactly; the noise is not used."""
        return self.codes(x)[0][0]

    def sample(self, n: int) -> Tensor:
        """Return E[x | z] at n samples of the prior, (n, D), for likelihoods that condition on the codes alone."""
        return self.sample_of(torch.randint(self.C, (n,), device=self.device))

    def sample_component(self, number: int, n: int) -> Tensor:
        """Return E[x | z] at n samples of one category, (n, D)."""
        return self.sample_of(torch.full((n,), number, device=self.device))


class CategoryEncoder(ClusteringModel):
    """A clustering model that encodes x to q(c | x), and has a learnt Gaussian p(z | c) for every category.

    Its noise is that of z and one number more, by which the category is drawn. A posterior has `log_categories`, log q(c | x) of
    (B, C).
    """

    def __init__(self, spec: Run, shape: tuple[int, ...], latents: Sequence[int]) -> None:
        super().__init__(spec, shape, latents)
        self.noise_size = spec.latent + 1
        self.encoder, self.features = features(spec.encoder, 1, shape)
        self.category_logits = nn.Linear(self.features, spec.K)

    def encode_categories(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the encoder's last hidden layer, (B, F), and log q(c | x), (B, C), for (B, D)."""
        hidden = self.encoder(self.likelihood.encoder_input(x))[0]
        return hidden, log_softmax(self.category_logits(hidden), dim=-1)

    def categories(self, x: Tensor) -> Tensor:
        """Return q(c | x), (B, C)."""
        return self.posterior(x).log_categories.exp()
