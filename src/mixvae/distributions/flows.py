"""This file has normalising flows, which map z_0 to z_T; the components of a mixture share one flow, or each has its own.

Every flow has three methods. `push` maps samples of each of K components through the component's flow, and returns for every
component j the base point z_0 that j's flow maps to each sample; `inverse` returns these base points for given points z_T;
`aggregate` makes a prior of the posteriors of a few points.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform, Distribution, Transform
from torch.nn.functional import logsigmoid
from zuko.nn import MaskedMLP
from zuko.transforms import (
    AutoregressiveTransform,
    ComposedTransform,
    CouplingTransform,
    DependentTransform,
    MonotonicAffineTransform,
    MonotonicRQSTransform,
)

from mixvae import own
from mixvae.distributions.gaussians import DiagonalMixture, FlowedMixture
from mixvae.nets import BatchedLinear, mlp
from mixvae.study import parts

OPEN_GATE = 2.0
"""The gates' logits start here (Kingma et al., 2016, advise 1 to 2)."""


class Pushed(NamedTuple):
    """Samples of all components, and their base points under J flows: one per component, or a single one that all share.

    z: (L, K, B, Z), z_T.
    base: (J, L, K, B, Z), the points that component j's flow maps to z.
    log_det: (J, L, K, B), log|det dz/dbase| there.
    """

    z: Tensor
    base: Tensor
    log_det: Tensor


class SharedFlow(nn.Module):
    """A flow that all components of a mixture share.

    distinct: How many flows there are: 1, or K where every component has its own.
    is_identity: Whether it changes nothing.
    """

    distinct, is_identity = 1, False

    def __init__(self, K: int, latent: int) -> None:
        super().__init__()
        self.latent = latent

    def aggregate(self, mean: Tensor, log_var: Tensor, dtype: torch.dtype) -> Distribution:
        """Return the aggregate posterior of M points under K components, (K, M, Z) each, that serves as a prior of z_T.

        It consists of the *base* Gaussians. If they passed the flow, its determinant would cancel against the posterior's, and
        the model would be one without a flow.
        """
        return DiagonalMixture(mean.flatten(0, 1), log_var.flatten(0, 1), dtype)


class Identity(SharedFlow):
    """No flow: z_T = z_0."""

    is_identity = True

    def push(self, z: Tensor) -> Pushed:
        """Map (L, K, B, Z) to itself."""
        return Pushed(z, z[None], z.new_zeros(1, *z.shape[:-1]))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (J, N, Z) itself, and log-determinants of 0, (J, N)."""
        return z, z.new_zeros(z.shape[:-1])


class _Gate(AffineTransform):
    """z -> sigmoid(s) z + (1 - sigmoid(s)) m; log|det| is computed from the logit s, so that it cannot underflow."""

    def __init__(self, s: Tensor, m: Tensor) -> None:
        gate = s.sigmoid()
        super().__init__(loc=(1 - gate) * m, scale=gate, event_dim=1)
        self.logit = s

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return logsigmoid(self.logit).sum(-1)


class InverseAutoregressiveFlow(SharedFlow):
    r"""Inverse autoregressive flow (Kingma et al., 2016), z <- sigmoid(s) z + (1 - sigmoid(s)) m with (s, m) = MADE(z).

    Each of the T steps is a MADE, so log|det| is the sum of log sigmoid(s). All components of a mixture share the flow: the
    mixture's density at z_T is its density at z_0 divided by |det|, and no inverse is needed. With the natural order in every
    step, as in the Mixture-VAE paper, z_i given z_1 .. z_{i-1} is Gaussian for any T; with the order reversed in every other
    step it is not. The source papers do not name MADE's activation. As the flow's own authors do, we use ELU and gates that
    start open, since a long flow with closed gates would start as a point.

    Arguments:
        K: The number of components, which is not used.
        latent, steps: Z and T.
        hidden: Widths of each MADE's hidden layers.
        order: "natural", or "alternating" between steps.
    """

    def __init__(self, K: int, latent: int, steps: int, hidden: Sequence[int], order: str = "natural") -> None:
        super().__init__(K, latent)
        # row i of s and of m may read z_1 .. z_{i-1}, or z_{i+1} .. z_Z
        reads = torch.ones(latent, latent, dtype=torch.bool).tril(-1)
        orders = [reads.T if order == "alternating" and step % 2 else reads for step in range(steps)]
        self.mades = nn.ModuleList(MaskedMLP(rows.repeat(2, 1), hidden, activation=nn.ELU) for rows in orders)
        for made in self.mades:
            nn.init.constant_(made[-1].bias[:latent], OPEN_GATE)

    def push(self, z: Tensor) -> Pushed:
        """Map (L, K, B, Z); the base point of z_T is the same z_0 for every component."""
        pushed, log_det = self._transform().call_and_ladj(z)
        return Pushed(pushed, z[None], log_det[None])

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return z_0 of z_T (J, N, Z), computed one dimension after the other, and log|det dz_T/dz_0|, (J, N)."""
        base, log_det = self._transform().inv.call_and_ladj(z)
        return base, -log_det

    def _transform(self) -> Transform:
        gates = (partial(self._gate, made) for made in self.mades)
        return ComposedTransform(*(AutoregressiveTransform(gate, passes=self.latent) for gate in gates))

    @staticmethod
    def _gate(made: nn.Module, z: Tensor) -> Transform:
        return _Gate(*made(z).chunk(2, dim=-1))


class _Coupling(CouplingTransform):
    """A coupling that keeps every other number, from `start` on, and transforms the others given these.

    It uses slices, since zuko's mask gives indices for which a GPU would have to wait whenever the transform is made.
    """

    def __init__(self, meta: Callable[[Tensor], Transform], start: int) -> None:
        Transform.__init__(self)
        self.meta = meta
        self.idx_a, self.idx_b = slice(start, None, 2), slice(1 - start, None, 2)


class ComponentFlows(nn.Module):
    r"""K coupling flows at once, one per component (Dinh et al., 2017; Durkan et al., 2019).

    Each step keeps half of z and transforms the other half elementwise, with parameters that a network computes from the kept
    half; the halves alternate. The inverse costs no more than the flow, so the mixture's exact density is affordable: component
    j's density at a sample of component k is j's base Gaussian at j's inverse of the sample, divided by |det|. In evaluation
    mode the flows compute in float64, since the inverse of a strongly bent flow in float32 can be wrong by nats.

    Arguments:
        latent: The dimension Z, at least 2.
        steps, hidden: The number of coupling layers, and the widths of the hidden layers of each one's network.
        bins: The bins of a rational-quadratic spline on [-5, 5]; None for an affine map.
    """

    is_identity = False

    def __init__(self, K: int, latent: int, steps: int, hidden: Sequence[int], bins: int | None = None) -> None:
        super().__init__()
        self.distinct, self.latent = K, latent
        self.sizes = (1, 1) if bins is None else (bins, bins, bins - 1)
        self.univariate = _affine if bins is None else MonotonicRQSTransform
        self.starts = [step % 2 for step in range(steps)]
        kept = [len(range(start, latent, 2)) for start in self.starts]
        self.conditioners = nn.ModuleList(
            mlp(partial(BatchedLinear, K), (size, *hidden), (latent - size) * sum(self.sizes), "relu", 0.0) for size in kept
        )

    def push(self, z: Tensor) -> Pushed:
        """Map (L, K, B, Z), each component by its own flow, and find the base points of all samples under every flow."""
        L, K, B, Z = z.shape
        base = self._precise(z).transpose(0, 1).reshape(K, L * B, Z)
        pushed = self._transform()(base).view(K, L, B, Z).transpose(0, 1).to(z.dtype)
        base, log_det = self.inverse(pushed.reshape(1, L * K * B, Z).expand(K, -1, -1))
        return Pushed(pushed, base.view(K, L, K, B, Z), log_det.view(K, L, K, B))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the base points that each flow j maps to z[j], for z (K, N, Z), and log|det| of the flow there, (K, N)."""
        base, log_det = self._transform().inv.call_and_ladj(self._precise(z))
        return base, -log_det

    def aggregate(self, mean: Tensor, log_var: Tensor, dtype: torch.dtype) -> Distribution:
        """Return the aggregate posterior of M points under K components, (K, M, Z) each, that serves as a prior of z_T.

        Its Gaussians pass their components' flows, since the determinants of different flows do not cancel.
        """
        return FlowedMixture(mean, log_var, self, dtype)

    def _precise(self, z: Tensor) -> Tensor:
        return z if self.training else z.double()

    def _transform(self) -> Transform:
        steps = zip(self.conditioners, self.starts, strict=True)
        return ComposedTransform(*(_Coupling(partial(self._elementwise, conditioner), start) for conditioner, start in steps))

    def _elementwise(self, conditioner: nn.Module, kept: Tensor) -> Transform:
        parameters = conditioner(kept).unflatten(-1, (-1, sum(self.sizes))).split(self.sizes, dim=-1)
        return DependentTransform(self.univariate(*parameters), 1)


def _affine(shift: Tensor, log_scale: Tensor) -> Transform:
    return MonotonicAffineTransform(shift.squeeze(-1), log_scale.squeeze(-1))


FLOWS = {
    parts.NoFlow: Identity,
    parts.InverseAutoregressiveFlow: InverseAutoregressiveFlow,
    parts.CouplingFlow: ComponentFlows,
    parts.SplineFlow: ComponentFlows,
}
"""Every flow by the class of its settings."""


def build(settings: parts.Flow, K: int, latent: int) -> nn.Module:
    """Return the flow that `settings` describes, for K components of dimension `latent`."""
    flow, settings = own.choose(FLOWS, settings)
    return flow(K, latent, **settings.arguments())
