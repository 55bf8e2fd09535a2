"""The machine: what it is, and how fast it multiplies matrices."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from typing import Any

import torch

from benchmarks.clock import Side, once, repeated
from mixvae.cli import device_name
from mixvae.provenance import cpu_name, git_state

SIZES = {"cpu": (512, 1024, 1536, 2048, 3072), "cuda": (2048, 4096, 8192)}
TRIES = 5


def describe(device: torch.device) -> dict[str, Any]:
    """Return what the figures depend on beside the code that is measured."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git_state(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "device": device_name(device) or cpu_name(),
        "threads": torch.get_num_threads(),
        "tf32": device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32,
    }


def peak(device: torch.device) -> tuple[int, float]:
    """Return the size n of the square float32 matrices that are multiplied fastest, and the operations per second."""
    rates = {}
    for n in SIZES[device.type]:
        product = _product(n, device)
        once(product, device)
        rates[n] = operations(n) / min(once(product, device) for _ in range(TRIES))
    best = max(rates, key=rates.__getitem__)
    return best, rates[best]


def operations(n: int) -> int:
    """Return the operations of a product of two n x n matrices."""
    return 2 * n**3


def product(n: int, device: torch.device) -> Side:
    """Return a side that multiplies two n x n matrices: the peak at the moments of the other sides."""
    return repeated(_product(n, device), device)


def _product(n: int, device: torch.device):
    a, b, c = (torch.randn(n, n, device=device) for _ in range(3))
    return lambda: torch.mm(a, b, out=c)
