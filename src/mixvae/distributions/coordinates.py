"""This file has the coordinates in which Markov chains move: free real numbers, with or without a flow between them and the codes."""

import torch
from torch import Tensor, nn


class Coordinates:
    """The coordinates u of codes z behind the flows of K components.

    Where the components share a flow, u is z_0, in which the posterior is a plain mixture of Gaussians, and no inverse is needed.
    Where each has a flow of its own, there is no z_0 that all share, and u is z itself.
    """

    def __init__(self, flow: nn.Module) -> None:
        self.flow = flow
        self.shared = flow.distinct == 1

    def of_base(self, base: Tensor, chosen: Tensor) -> Tensor:
        """Return u (C, B, Z) of the base points (C, B, Z) of the components `chosen`, (C, B)."""
        if self.shared:
            return base
        every = self.flow.push(base[:, None].expand(-1, self.flow.distinct, -1, -1)).z
        chains, points = (torch.arange(size, device=base.device) for size in chosen.shape)
        return every[chains[:, None], chosen, points]

    def base(self, u: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return the base point of u (C, B, Z) under each of J flows, (J, C, B, Z), and log|det du/dbase|, (J, C, B) or 0."""
        if self.shared:
            return u[None], 0.0
        base, log_det = self.flow.inverse(u.flatten(0, 1).expand(self.flow.distinct, -1, -1))
        return base.unflatten(1, u.shape[:-1]), log_det.unflatten(1, u.shape[:-1])

    def codes(self, u: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return z of u (C, B, Z), (C, B, Z), and log|det dz/du|, (C, B) or 0."""
        if not self.shared:
            return u, 0.0
        pushed = self.flow.push(u[:, None])
        return pushed.z[:, 0], pushed.log_det[0, :, 0]

    def of_codes(self, z: Tensor) -> Tensor:
        """Return u of z (N, Z), (N, Z), by the inverse of a flow that the components share."""
        return self.flow.inverse(z[None])[0][0].to(z.dtype) if self.shared else z
