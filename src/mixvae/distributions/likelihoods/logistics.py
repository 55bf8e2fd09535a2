"""This file has the likelihood of 8-bit colours: a discretised mixture of logistics, autoregressive over the channels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution
from torch.nn.functional import logsigmoid, softplus

from mixvae.distributions.likelihoods.images import Levels

LOG_SCALE_RANGE = (-7, 7)
"""The range to which log-scales are clipped. On [-1, 1], scale exp(-7) is narrower than a level, and exp(7) flat over all."""


class Logistics(Levels):
    """A mixture of discretised logistics for every pixel of an RGB image in [0, 1] (Salimans et al., 2017, PixelCNN++).

    Levels are recovered as round(255 x), so x must hold exact multiples of 1/255.

    Arguments:
        shape: (3, H, W).
        mixtures: M, the logistics of each pixel.
    """

    def __init__(self, shape: Sequence[int], mixtures: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.parameters_per_point = 10 * mixtures * math.prod(shape[1:])

    def forward(self, h: Tensor, x: Tensor | None) -> DiscretisedLogistics:
        """Return p(x | h) for h of (..., 10 M H W); `x` is not used."""
        return DiscretisedLogistics(h.unflatten(-1, (-1, *self.shape[1:])))


class DiscretisedLogistics(Distribution):
    r"""The colours of pixels; each pixel comes from one of M components, red first, then green given red, then blue given both.

    On the scale of [-1, 1], a component's logistics have the means m_r, m_g + tanh(c_0) x_r and m_b + tanh(c_1) x_r +
    tanh(c_2) x_g. A level's probability is the mass within half a level around it; only levels 0 and 255 also have the tails,
    so that the 256 probabilities add up to one.

    Arguments:
        parameters: (..., 10 M, H, W): M logits, then 3 M means, log-scales and coefficients, each component by component.
    """

    def __init__(self, parameters: Tensor) -> None:
        *batch, channels, H, W = parameters.shape
        M = channels // 10
        logits, rest = parameters.split([M, 9 * M], dim=-3)
        means, log_scales, coefficients = rest.unflatten(-3, (3, M, 3)).unbind(-5)
        self.logits = logits
        self.means = means
        self.log_scales = log_scales.clamp(*LOG_SCALE_RANGE)
        self.coefficients = coefficients.tanh()
        super().__init__(torch.Size(batch), torch.Size([3 * H * W]), validate_args=False)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) for x of (..., B, 3 H W) as (..., B)."""
        levels = (255 * x.unflatten(-1, self.means.shape[-3:])).round().unsqueeze(-4)
        scaled = levels / 127.5 - 1
        red, green, _ = scaled.unbind(-3)
        locations = self._location(0), self._location(1, red), self._location(2, red, green)
        centred = scaled - torch.stack(torch.broadcast_tensors(*locations), dim=-3)
        inverse_scale = (-self.log_scales).exp()
        above, below = (centred + 1 / 255) * inverse_scale, (centred - 1 / 255) * inverse_scale
        # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)): nothing cancels, even for a level far from the
        # mean, and b - a is known without subtraction
        between = (-torch.expm1(-2 / 255 * inverse_scale)).log()
        lowest, highest = levels == 0, levels == 255
        log_mass = (
            logsigmoid(above).masked_fill(highest, 0)
            + logsigmoid(-below).masked_fill(lowest, 0)
            + between.masked_fill(lowest | highest, 0)
        )
        return (self.logits.log_softmax(-3) + log_mass.sum(-3)).logsumexp(-3).sum((-2, -1))

    def _location(self, channel: int, *previous: Tensor) -> Tensor:
        """Return the means of a channel's logistics on [-1, 1], given the channels before it, as (..., M, H, W)."""
        location = self.means[..., channel, :, :]
        for coefficient, value in enumerate(previous, start=max(0, channel - 1)):
            location = location + self.coefficients[..., coefficient, :, :] * value
        return location

    @property
    def mean(self) -> Tensor:
        """The expected image in [0, 1], (..., B, 3 H W).

        Red is exact up to the rounding to levels: a logistic clipped to [-1, 1] has the mean -1 + s softplus((m + 1) / s) -
        s softplus((m - 1) / s). Green and blue use the component's expected values of the channels before them in place of the
        values, which is exact but for the clipping.
        """
        expected: list[Tensor] = []
        for channel in range(3):
            location, scale = self._location(channel, *expected), self.log_scales[..., channel, :, :].exp()
            expected.append(scale * (softplus((location + 1) / scale) - softplus((location - 1) / scale)) - 1)
        weights = self.logits.softmax(-3).unsqueeze(-3)
        image = (weights * torch.stack(expected, dim=-3)).sum(-4)
        return ((image + 1) / 2).clamp(0, 1).flatten(-3)

    @torch.no_grad()
    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Draw images of exact multiples of 1/255, (*sample_shape, ..., B, 3 H W)."""
        chosen = Categorical(logits=self.logits.movedim(-3, -1), validate_args=False).sample(sample_shape).unsqueeze(-3)
        levels: list[Tensor] = []
        for channel in range(3):
            location = self._location(channel, *(level / 127.5 - 1 for level in levels))
            location, scale = (
                part.expand(*chosen.shape[:-3], *part.shape[-3:]).gather(-3, chosen)
                for part in (location, self.log_scales[..., channel, :, :].exp())
            )
            uniform = torch.rand_like(location).clamp(1e-7, 1 - 1e-7)
            value = (location + scale * uniform.logit()).clamp(-1, 1)
            levels.append((127.5 * (value + 1)).round())
        return (torch.cat(levels, dim=-3) / 255).flatten(-3)
