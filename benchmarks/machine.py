"""The machine: what it is, and how many operations per second it does at best."""

import platform
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from benchmarks.clock import once
from mixvae.code import git_state
from mixvae.fitting import gpus
from mixvae.fitting.devices import device_name
from mixvae.provenance import cpu_name

SIZES = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192)}
IMAGES = {"cpu": 50, "cuda": 1000}
CHANNELS, SIDE, KERNEL = 64, 28, 3
TRIES = 5

Product = tuple[Callable[[], Tensor], int]
"""A function and its floating point operations."""


def describe(device: torch.device) -> dict[str, Any]:
    """Return what the figures depend on beside the code that is measured."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git_state(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "mps": gpus.mps_runs(),
        "device": device_name(device) or cpu_name(),
        "threads": torch.get_num_threads(),
    }


def products(device: torch.device) -> dict[str, Product]:
    """Return what the peak is looked for with: products of square float32 matrices, and convolutions of a PixelCNN's size.

    Convolutions too, since they go through another library than products, and on some processors through a faster one.
    """
    found: dict[str, Product] = {}
    for n in SIZES[device.type]:
        found[f"{n} x {n} product"] = _product(n, device)
    for layout in (torch.contiguous_format, torch.channels_last):
        name = "convolution" + (", channels last" if layout is torch.channels_last else "")
        found[name] = _convolution(layout, device)
    return found


def peak(device: torch.device) -> tuple[str, dict[str, float]]:
    """Return which product is the fastest, and the operations per second of each at its best."""
    rates = {}
    for name, (product, operations) in products(device).items():
        once(product, device)
        rates[name] = operations / min(once(product, device) for _ in range(TRIES))
    return max(rates, key=rates.__getitem__), rates


def _product(n: int, device: torch.device) -> Product:
    a, b, c = (torch.randn(n, n, device=device) for _ in range(3))
    return lambda: torch.mm(a, b, out=c), 2 * n**3


def _convolution(layout: torch.memory_format, device: torch.device) -> Product:
    images = torch.randn(IMAGES[device.type], CHANNELS, SIDE, SIDE, device=device).contiguous(memory_format=layout)
    kernel = torch.randn(CHANNELS, CHANNELS, KERNEL, KERNEL, device=device).contiguous(memory_format=layout)
    operations = 2 * images.numel() * CHANNELS * KERNEL**2
    return lambda: torch.conv2d(images, kernel, padding=KERNEL // 2), operations
