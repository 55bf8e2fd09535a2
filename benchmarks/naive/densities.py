"""Flows, priors and likelihoods, from torch.distributions and loops over components."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import NegativeBinomial, Normal
from torch.nn.functional import hardtanh, logsigmoid, softplus

from benchmarks.naive.networks import Copies, network
from mixvae.distributions import flows as library_flows
from mixvae.distributions import likelihoods as library_likelihoods
from mixvae.distributions import priors as library_priors

Seen = list[tuple[Tensor, Tensor | float]]
"""For every component j, the point that its flow maps to a sample, (L, B, Z), and log|det| of the flow there, (L, B)."""

LEAST_SLOPE = 1e-3
"""Of zuko's affine map, whose log-scales are squashed between its logarithm and minus that."""


class NoFlow(nn.Module):
    """z_T = z_0."""

    def __init__(self, K: int) -> None:
        super().__init__()
        self.K = K

    def push(self, k: int, z: Tensor) -> tuple[Tensor, Seen]:
        """Map samples of component k, and say where every component sees them."""
        return z, [(z, 0.0)] * self.K


class SharedFlow(nn.Module):
    """Inverse autoregressive steps, the same for all components."""

    def __init__(self, copies: Copies, flow: library_flows.InverseAutoregressiveFlow, K: int) -> None:
        super().__init__()
        self.K = K
        self.mades = nn.ModuleList(copies.module(made) for made in flow.mades)

    def push(self, k: int, z: Tensor) -> tuple[Tensor, Seen]:
        base, log_det = z, 0.0
        for made in self.mades:
            s, m = made(z).chunk(2, dim=-1)
            gate = torch.sigmoid(s)
            z = gate * z + (1 - gate) * m
            log_det = log_det + logsigmoid(s).sum(-1)
        return z, [(base, log_det)] * self.K


class Coupling(nn.Module):
    """One component's affine coupling layers."""

    def __init__(self, copies: Copies, flow: library_flows.ComponentFlows, k: int) -> None:
        super().__init__()
        self.conditioners = nn.ModuleList(network(copies, conditioner, k) for conditioner in flow.conditioners)
        # what a layer keeps: the even dimensions, then the odd ones, and so on
        self.masks = [torch.arange(flow.latent) % 2 == number % 2 for number in range(len(self.conditioners))]

    def _affine(self, conditioner: nn.Module, kept: Tensor) -> tuple[Tensor, Tensor]:
        shift, scale = conditioner(kept).unflatten(-1, (-1, 2)).unbind(-1)
        return shift, scale / (1 + (scale / math.log(LEAST_SLOPE)).abs())

    def forward(self, z: Tensor) -> Tensor:
        """Map z_0 to z_T."""
        for conditioner, mask in zip(self.conditioners, self.masks, strict=True):
            kept, rest = z[..., mask], z[..., ~mask]
            shift, log_scale = self._affine(conditioner, kept)
            z = z.clone()
            z[..., ~mask] = rest * log_scale.exp() + shift
        return z

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z_T to z_0, with log|det| of the flow."""
        log_det = z.new_zeros(z.shape[:-1])
        for conditioner, mask in zip(reversed(self.conditioners), reversed(self.masks), strict=True):
            kept, rest = z[..., mask], z[..., ~mask]
            shift, log_scale = self._affine(conditioner, kept)
            z = z.clone()
            z[..., ~mask] = (rest - shift) / log_scale.exp()
            log_det = log_det + log_scale.sum(-1)
        return z, log_det


class ComponentFlows(nn.Module):
    """A flow of its own for every component."""

    def __init__(self, copies: Copies, flow: library_flows.ComponentFlows) -> None:
        super().__init__()
        self.flows = nn.ModuleList(Coupling(copies, flow, k) for k in range(flow.distinct))

    def push(self, k: int, z: Tensor) -> tuple[Tensor, Seen]:
        z = self.flows[k](z)
        return z, [flow.inverse(z) for flow in self.flows]


def flow(copies: Copies, source: nn.Module, K: int) -> nn.Module:
    """Return the naive flow of one of the library's."""
    match source:
        case library_flows.Identity():
            return NoFlow(K)
        case library_flows.InverseAutoregressiveFlow():
            return SharedFlow(copies, source, K)
        case library_flows.ComponentFlows():
            return ComponentFlows(copies, source)


class StandardPrior(nn.Module):
    """N(0, I)."""

    def forward(self, encode: Any) -> None:
        """Return what `log_prob` needs: nothing."""

    def log_prob(self, given: None, z: Tensor) -> Tensor:
        """Return log p(z), (L, B), of (L, B, Z)."""
        return Normal(torch.zeros_like(z), torch.ones_like(z)).log_prob(z).sum(-1)


class MixturePrior(nn.Module):
    """A learnt mixture of M Gaussians."""

    def __init__(self, copies: Copies, prior: library_priors.MixturePrior) -> None:
        super().__init__()
        self.mean, self.log_var = copies.of(prior.mean), copies.of(prior.log_var)

    def forward(self, encode: Any) -> Normal:
        """Return the Gaussians, (M, Z)."""
        return Normal(self.mean, (0.5 * hardtanh(self.log_var, -6.0, 2.0)).exp())

    def log_prob(self, components: Normal, z: Tensor) -> Tensor:
        log_components = components.log_prob(z[..., None, :]).sum(-1)
        return torch.logsumexp(log_components, -1) - math.log(len(self.mean))


class VampPrior(nn.Module):
    """The posteriors of M pseudo-inputs, of all K components."""

    def __init__(self, copies: Copies, prior: library_priors.VampPrior, constrain: Any, flow: nn.Module) -> None:
        super().__init__()
        self.free, self.constrain = copies.of(prior.free), constrain
        # not registered a second time
        self.flows = list(flow.flows) if isinstance(flow, ComponentFlows) else None

    def forward(self, encode: Any) -> list[Normal]:
        """Return every component's posteriors of the pseudo-inputs, (M, Z) each."""
        return encode(self.constrain(self.free))

    def log_prob(self, posteriors: list[Normal], z: Tensor) -> Tensor:
        K, M = len(posteriors), len(self.free)
        if self.flows is None:
            mean = torch.stack([posterior.loc for posterior in posteriors], dim=1)
            std = torch.stack([posterior.scale for posterior in posteriors], dim=1)
            log_components = Normal(mean, std).log_prob(z[..., None, None, :]).sum(-1)
            return torch.logsumexp(log_components, (-2, -1)) - math.log(M * K)
        log_components = []
        for posterior, flow in zip(posteriors, self.flows, strict=True):
            base, log_det = flow.inverse(z)
            log_components.append(posterior.log_prob(base[..., None, :]).sum(-1) - log_det[..., None])
        return torch.logsumexp(torch.cat(log_components, dim=-1), -1) - math.log(M * K)


def prior(copies: Copies, source: nn.Module, constrain: Any, flow: nn.Module) -> nn.Module:
    """Return the naive prior of one of the library's."""
    match source:
        case library_priors.StandardPrior():
            return StandardPrior()
        case library_priors.MixturePrior():
            return MixturePrior(copies, source)
        case library_priors.VampPrior():
            return VampPrior(copies, source, constrain, flow)


class Bernoulli(nn.Module):
    """Binary pixels."""

    def log_prob(self, h: Tensor, x: Tensor) -> Tensor:
        """Return log p(x | h), (L, B), of h (L, B, D) and x (B, D)."""
        return TorchBernoulli(logits=h).log_prob(x).sum(-1)

    def encoder_input(self, x: Tensor) -> Tensor:
        return x

    def constrain(self, free: Tensor) -> Tensor:
        """Keep pseudo-inputs where the encoder's inputs lie."""
        return hardtanh(free, 0.0, 1.0)


class ZeroInflatedNegativeBinomial(nn.Module):
    """Counts with a dispersion per gene that get lost with a probability per cell and gene."""

    def __init__(self, copies: Copies, likelihood: library_likelihoods.ZeroInflatedNegativeBinomial) -> None:
        super().__init__()
        self.log_theta = copies.of(likelihood.counts.log_theta)

    def log_prob(self, h: Tensor, x: Tensor) -> Tensor:
        shares, pi = h.chunk(2, dim=-1)
        log_mean = shares.log_softmax(-1) + x.sum(-1, keepdim=True).log()
        counts = NegativeBinomial(self.log_theta.exp(), logits=log_mean - self.log_theta)
        seen = logsigmoid(-pi) + counts.log_prob(x)
        return torch.where(x == 0, torch.logaddexp(logsigmoid(pi), seen), seen).sum(-1)

    def encoder_input(self, x: Tensor) -> Tensor:
        return x.log1p()

    def constrain(self, free: Tensor) -> Tensor:
        return softplus(free)


def likelihood(copies: Copies, source: nn.Module) -> nn.Module:
    """Return the naive likelihood of one of the library's."""
    match source:
        case library_likelihoods.Bernoulli():
            return Bernoulli()
        case library_likelihoods.ZeroInflatedNegativeBinomial():
            return ZeroInflatedNegativeBinomial(copies, source)
