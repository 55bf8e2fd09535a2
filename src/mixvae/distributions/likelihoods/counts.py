"""This file has likelihoods of counts: negative binomials with a dispersion per gene, with or without zero inflation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution, Gamma, Independent
from torch.nn.functional import logsigmoid, softplus

THETA_GRID = torch.linspace(-6, 8, 141)
"""The values of log theta, the log inverse dispersion, that the control tries for every gene."""


class NegativeBinomial(nn.Module):
    r"""Counts with mean library(x) * softmax(h) and one inverse dispersion theta per gene (Lopez et al., 2018, scVI).

    library(x) is the sum of the cell's modelled counts. The density is conditional on it: p(x | z, library). `shape` is (D,).
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        (self.parameters_per_point,) = shape
        self.log_theta = nn.Parameter(torch.zeros(shape))

    def forward(self, h: Tensor, x: Tensor) -> Distribution:
        """Return p(x | h, library(x)) for h of (..., B, D) and counts x of (B, D)."""
        return Independent(self.genes(h, x), 1, validate_args=False)

    def genes(self, h: Tensor, x: Tensor) -> NegativeBinomialCounts:
        """Return the negative binomials of the genes, without summing over genes."""
        return NegativeBinomialCounts(h.log_softmax(-1) + x.sum(-1, keepdim=True).log(), self.log_theta)

    @torch.no_grad()
    def constant(self, x: Tensor) -> Tensor:
        """Return each gene's log-share (D,) of all counts (N, D), and set every gene's theta to the best in `THETA_GRID`."""
        h = ((x.sum(0) + 1) / (x.sum() + x.shape[1])).log()
        scores = []
        for log_theta in THETA_GRID:
            self.log_theta.fill_(log_theta)
            scores.append(self.genes(h, x).log_prob(x).sum(0))
        self.log_theta.copy_(THETA_GRID[torch.stack(scores).argmax(0)])
        return h

    @staticmethod
    def encoder_input(x: Tensor) -> Tensor:
        """Return log(1 + counts)."""
        return x.log1p()

    @staticmethod
    def constrain(free: Tensor) -> Tensor:
        """Keep pseudo-inputs positive on the log1p scale."""
        return softplus(free)

    @staticmethod
    def unconstrain(x: Tensor) -> Tensor:
        """Invert softplus; zeros become 0.05, since softplus reaches 0 only at minus infinity."""
        return x.clamp_min(0.05).expm1().log()


class ZeroInflatedNegativeBinomial(nn.Module):
    """A negative binomial whose count is lost with probability sigmoid(pi), per cell and gene (Lopez et al., 2018).

    `shape` is (D,); h holds 2D numbers, the D shares and the D logits pi.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.parameters_per_point = 2 * shape[0]
        self.counts = NegativeBinomial(shape)

    def forward(self, h: Tensor, x: Tensor) -> Distribution:
        """Return p(x | h, library(x)) for h of (..., B, 2D) and counts x of (B, D)."""
        shares, pi = h.chunk(2, dim=-1)
        return Independent(ZeroInflated(self.counts.genes(shares, x), pi), 1, validate_args=False)

    encoder_input = staticmethod(NegativeBinomial.encoder_input)
    constrain = staticmethod(NegativeBinomial.constrain)
    unconstrain = staticmethod(NegativeBinomial.unconstrain)


class NegativeBinomialCounts(Distribution):
    r"""The negative binomial with mean mu and variance mu + mu^2 / theta.

    torch's own class takes log-gammas after expanding theta to the shape of mu, (L, K, B, D); here they are taken once per
    count, (B, D), since all samples share them. log mu is (..., D), log theta (D,).
    """

    def __init__(self, log_mean: Tensor, log_theta: Tensor) -> None:
        self.log_mean = log_mean
        self.log_theta = log_theta
        super().__init__(batch_shape=log_mean.shape, validate_args=False)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) elementwise; x is data and gets no gradient."""
        # in float64, since log-gammas cancel for large theta
        theta, count = self.log_theta.double().exp(), x.double()
        constant = torch.lgamma(count + theta) - torch.lgamma(theta) - torch.lgamma(count + 1)
        logits = self.log_mean - self.log_theta
        logits = logits.expand(torch.broadcast_shapes(logits.shape, x.shape))
        return _FailuresAndSuccesses.apply(logits, self.log_theta.exp(), x) + constant.to(logits.dtype)

    @property
    def mean(self) -> Tensor:
        """Expected counts."""
        return self.log_mean.exp()

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample_shape, ..., D) as a Poisson whose rate is gamma distributed."""
        theta = self.log_theta.exp().expand(self.log_mean.shape)
        return torch.poisson(Gamma(theta, theta / self.mean).sample(sample_shape))


class ZeroInflated(Distribution):
    """A count distribution of batch shape (..., D) that shows 0 instead of its value with probability sigmoid(pi), pi (..., D)."""

    def __init__(self, counts: Distribution, pi: Tensor) -> None:
        self.counts = counts
        self.pi = pi
        super().__init__(batch_shape=pi.shape, validate_args=False)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) elementwise, computed in log space throughout; x is data and gets no gradient."""
        log_p = self.counts.log_prob(x)
        return _Inflated.apply(log_p, self.pi.expand_as(log_p), x)

    @property
    def mean(self) -> Tensor:
        """Expected counts."""
        return (-self.pi).sigmoid() * self.counts.mean

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample_shape, ..., D)."""
        x = self.counts.sample(sample_shape)
        return x.masked_fill(torch.rand_like(x) < self.pi.sigmoid(), 0)


# The arrays of these functions are a model's largest, (L, K, B, D), and passes over them take the time. Gradients written by
# hand save arrays: without them, forward and backward took 1.3 times as long (K = 4, batch 512, 1,200 genes).


class _FailuresAndSuccesses(torch.autograd.Function):
    """theta log sigmoid(-l) + x log sigmoid(l), elementwise.

    log sigmoid(l) is min(l, 0) - log(1 + exp(-|l|)), so nothing cancels in the value, nor in the gradient below.
    """

    @staticmethod
    def forward(ctx, logits: Tensor, theta: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(logits, theta, x)
        result = softplus(logits.abs().neg_()).mul_(-(theta + x))
        return result.addcmul_(x, logits.clamp_max(0)).addcmul_(theta, logits.clamp_min(0), value=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        logits, theta, x = ctx.saved_tensors
        # not needed when a chain moves through codes
        of_theta = logsigmoid(logits.neg()).mul_(gradient).sum_to_size(theta.shape) if ctx.needs_input_grad[1] else None
        of_logits = logits.neg().sigmoid_().mul_(x).addcmul_(theta, logits.sigmoid(), value=-1)
        return of_logits.mul_(gradient), of_theta, None


class _Inflated(torch.autograd.Function):
    """log sigmoid(-pi) + log p, and where x is 0, log(sigmoid(pi) + sigmoid(-pi) p), elementwise."""

    @staticmethod
    def forward(ctx, log_p: Tensor, pi: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(log_p, pi, x)
        return torch.where(x == 0, torch.logaddexp(pi, log_p), log_p).add_(logsigmoid(-pi))

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        log_p, pi, x = ctx.saved_tensors
        # the probability that a count was not lost: 1 where it is not 0
        kept = (log_p - pi).sigmoid_().masked_fill_(x != 0, 1)
        of_pi = pi.neg().sigmoid_().sub_(kept).mul_(gradient)
        return kept.mul_(gradient), of_pi, None
