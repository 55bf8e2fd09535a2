"""The PixelCNN is an autoregressive decoder, p(x | z) = prod_i p(x_i | x_<i, z) (van den Oord et al., 2016)."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, relu

from mixvae.study import parts

BLOCK = {"cpu": 20, "cuda": 2000}
"""How many images are computed at once, which limits the memory used on a GPU. On a CPU their feature maps then stay in its
cache: on two cores, 400 images of 28x28 and eight layers of 64 channels took 1.0 s forward and 4.4 s with backward instead of
2.8 and 8.7 s; with 10 or 40 images at once it is about as fast."""


class CausalConv2d(nn.Module):
    """The weights of a masked 3x3 convolution, for `convolve`.

    Pixel (r, c) sees row r-1 at c-1, c and c+1, and row r at c-1; at c it sees only the channels that `sees` allows. The
    kernel's third row, which the mask would set to zero, is left out: three layers of 64 channels on 100 images of 28x28 then
    take 209 ms instead of 300, forward and backward on one thread.

    Arguments:
        sees: For each input channel, whether its pixel (r, c) itself is seen (a mask of type B) or not (type A).
    """

    mask: Tensor

    def __init__(self, sees: Sequence[bool], out_channels: int) -> None:
        super().__init__()
        convolution = nn.Conv2d(len(sees), out_channels, (2, 3))
        self.weight, self.bias = convolution.weight, convolution.bias
        mask = torch.ones_like(self.weight)
        mask[:, :, 1, 1] = torch.tensor(sees, dtype=mask.dtype)
        mask[:, :, 1, 2] = 0
        self.register_buffer("mask", mask, persistent=False)

    def kernel(self) -> Tensor:
        """Return the masked weights, (out, in, 2, 3)."""
        return self.weight * self.mask


def convolve(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Convolve (N, in, H, W) with a kernel (out, in, 2, 3) over the row above a pixel and the pixel's own row."""
    return conv2d(pad(x, (0, 0, 1, 0)), kernel, bias, padding=(0, 1))


def around(rows: Tensor, column: int) -> Tensor:
    """Return the numbers that a kernel at `column` covers in two padded rows (N, in, 2, W + 2), as (N, in * 6)."""
    return rows[..., column : column + 3].flatten(1)


class PixelCNN(nn.Module):
    """Masked convolutions over the image and one plane made from each code, then a 1x1 convolution to one logit per pixel.

    A gated dense layer makes each code into its plane. In the first layer a pixel sees the planes at its own place too, but the
    image only before it; the planes depend on no pixel, so the network stays autoregressive and loses less of z. There is no
    batch normalisation, which would make a pixel's logit depend on later pixels and on other images.

    The arguments are those of `decoder`, for a shape (1, H, W) and H W outputs.
    """

    def __init__(self, settings: parts.PixelCNN, latents: Sequence[int], shape: Sequence[int], outputs: int) -> None:
        super().__init__()
        channels = settings.channels
        _, *self.sides = shape
        H, W = self.sides
        self.planes = nn.ModuleList(nn.Sequential(nn.Linear(Z, 2 * H * W), nn.GLU()) for Z in latents)
        self.first = CausalConv2d([False] + [True] * len(latents), channels)
        self.hidden = nn.ModuleList(CausalConv2d([True] * channels, channels) for _ in range(settings.layers - 1))
        self.logit = nn.Conv2d(channels, 1, 1)
        self.width = max(2, 1 + len(latents)) * H * W

    def _planes(self, codes: Sequence[Tensor]) -> list[Tensor]:
        """Return each code's plane, (N, H, W), where N is the product of the code's leading axes."""
        return [plane(code.flatten(0, -2)).unflatten(-1, self.sides) for plane, code in zip(self.planes, codes, strict=True)]

    def forward(self, codes: Sequence[Tensor], x: Tensor) -> Tensor:
        """Return each pixel's logit for x (B, D), given codes of (..., B, Z_i) and the pixels before it, as (..., B, D)."""
        planes = self._planes(codes)
        image = x.unflatten(-1, self.sides).expand(len(planes[0]) // len(x), -1, -1, -1).flatten(0, 1)
        inputs = torch.stack([image, *planes], dim=1)
        layers = [(layer.kernel(), layer.bias) for layer in (self.first, *self.hidden)]
        device = inputs.device.type
        if device == "cpu":
            # with the channels last, convolutions are up to twice as fast where there is AVX-512, and as fast elsewhere
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            layers = [(kernel.contiguous(memory_format=torch.channels_last), bias) for kernel, bias in layers]
        blocks = inputs.split(BLOCK.get(device, len(inputs)))
        return torch.cat([self._logits(block, layers) for block in blocks]).view(*codes[0].shape[:-1], -1)

    def _logits(self, h: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Return the logits, (N, 1, H, W), for images and their planes as channels, (N, 1 + planes, H, W)."""
        for kernel, bias in layers:
            h = convolve(h, kernel, bias).relu_()
        return self.logit(h)

    @torch.no_grad()
    def sample(self, codes: Sequence[Tensor]) -> Tensor:
        """Draw binary images pixel by pixel given codes of (N, Z_i), as (N, D).

        At every pixel, each layer is computed for this pixel alone, from the row above and the part of its own row that is
        known; later pixels cannot change it.
        """
        H, W = self.sides
        given = convolve(torch.stack(self._planes(codes), dim=1), self.first.kernel()[:, 1:], self.first.bias)
        N = len(given)
        uniform = torch.rand(N, H, W, dtype=given.dtype, device=given.device)
        x = torch.empty_like(uniform)
        first = self.first.kernel()[:, :1].flatten(1).T
        kernels = [(layer.kernel().flatten(1).T, layer.bias) for layer in self.hidden]
        logit = self.logit.weight.flatten(1).T, self.logit.bias
        # Each layer's input (the first is the image) in the row above and in this row, with zeros around. Places not yet
        # computed in this row still hold the last row's numbers, but only masked weights meet them.
        widths = [1, *[len(given[0])] * len(kernels)]
        rows = [given.new_zeros(N, width, 2, W + 2) for width in widths]
        for r, c in itertools.product(range(H), range(W)):
            if c == 0:
                for row in rows:
                    row[:, :, 0] = row[:, :, 1]
            h = relu(given[..., r, c] + around(rows[0], c) @ first)
            for row, (kernel, bias) in zip(rows[1:], kernels, strict=True):
                row[:, :, 1, c + 1] = h
                h = relu(torch.addmm(bias, around(row, c), kernel))
            x[:, r, c] = uniform[:, r, c] < torch.addmm(logit[1], h, logit[0])[:, 0].sigmoid()
            rows[0][:, 0, 1, c + 1] = x[:, r, c]
        return x.flatten(1)
