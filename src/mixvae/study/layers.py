"""This file computes the shapes of images behind convolutions [channels, kernel, stride] before a network is built."""

from collections.abc import Sequence

from mixvae.errors import UserError


def padding(kernel: int) -> int:
    """Return the zeros on each side: stride 1 then keeps the size for odd kernels, and stride 2 halves it for 3x3 and 4x4."""
    return (kernel - 1) // 2


def feature_shapes(shape: Sequence[int], layers: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Return (channels, height, width) of the image and of each layer's output. Raises UserError when nothing is left of it."""
    shapes = [tuple(shape)]
    for channels, kernel, stride in layers:
        sides = [(side + 2 * padding(kernel) - kernel) // stride + 1 for side in shapes[-1][1:]]
        if min(sides) < 1:
            layer = f"layer {len(shapes)} of {len(layers)}, {[channels, kernel, stride]}"
            raise UserError(f"layers: {list(shape)[1:]} pixels are too few for {layer}; give fewer layers or smaller strides")
        shapes.append((channels, *sides))
    return shapes
