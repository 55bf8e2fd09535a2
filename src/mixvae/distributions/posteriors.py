"""This file has the posterior q(z|x): a mixture of Gaussians behind a flow, with parameters that an encoder returns."""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import hardtanh

from mixvae.distributions.flows import Identity
from mixvae.distributions.gaussians import gaussian_log_prob, log_mixture

LOG_VAR_RANGE = (-6, 2)
"""The range to which log-variances are clipped, as in the Mixture-VAE paper."""


def clip(log_var: Tensor) -> Tensor:
    """Clip log-variances to `LOG_VAR_RANGE`; hardtanh's gradient takes one operation, clamp's five."""
    return hardtanh(log_var, *LOG_VAR_RANGE)


class Draw(NamedTuple):
    """Samples of every component and their log-densities.

    z: (L, K, B, Z), where z[:, k] was drawn from component k.
    log_components: (J, L, K, B), log q_j(z | x) under every component j.
    """

    z: Tensor
    log_components: Tensor

    @property
    def log_mixture(self) -> Tensor:
        """log q(z | x) of the whole mixture, (L, K, B)."""
        return log_mixture(self.log_components)

    @property
    def log_component(self) -> Tensor:
        """log q_k(z_k | x) of the component that drew each sample, (L, K, B)."""
        return own_component(self.log_components)


def own_component(log_components: Tensor) -> Tensor:
    """Return entries (k, l, k, b) of (K, L, K, B), each sample's under its own component k, as (L, K, B)."""
    return log_components.diagonal(dim1=0, dim2=2).movedim(-1, 1)


class GaussianMixture:
    r"""The equally weighted mixture of K diagonal Gaussians behind a flow, q(z|x) = 1/K sum_k q_k(z|x) (Kviman et al., 2023).

    Arguments:
        mean, log_var: (K, B, Z) each, of z_0.
        flow: z_0 -> z_T, see `mixvae.distributions.flows`; by default there is no flow.
    """

    def __init__(self, mean: Tensor, log_var: Tensor, flow: nn.Module | None = None) -> None:
        self.mean = mean
        self.log_var = log_var
        self.std = (0.5 * log_var).exp()
        self.flow = Identity(len(mean), mean.shape[-1]) if flow is None else flow

    def draw(self, noise: Tensor) -> Draw:
        """Turn standard normal noise (L, K, B, Z) into samples of every component with their log-densities."""
        z, base, log_det = self.flow.push(self.mean + self.std * noise)
        return Draw(z, gaussian_log_prob(base, self.mean[:, None, None], self.log_var[:, None, None]) - log_det)

    def expectation(self, noise: Tensor) -> Tensor:
        """Return E_q[z | x] as (B, Z): exactly without a flow, else by Monte Carlo from noise (L, K, B, Z)."""
        return self.mean.mean(0) if self.flow.is_identity else self.draw(noise).z.mean((0, 1))
