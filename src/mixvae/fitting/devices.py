"""This file chooses the device that a job computes on, and its precision."""

from __future__ import annotations

import os

import torch

from mixvae.errors import UserError
from mixvae.fitting import gpus
from mixvae.progress import say


def torch_device(gpu: int, threads: int):
    """Return the CPU or, with `gpu`, the least busy GPU as a torch device, with torch limited to `threads`.

    Raises UserError when a GPU is asked for and torch sees none.
    """
    torch.set_num_threads(threads)
    set_numerics()
    if not gpu:
        return torch.device("cpu")
    rehearsal = bool(os.environ.get(gpus.REHEARSAL))
    if not rehearsal and not torch.cuda.is_available():
        given = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        raise UserError(
            f"gpu: torch {torch.__version__} sees no GPU here (CUDA_VISIBLE_DEVICES is {given}); set gpu: 0 in the config, or run "
            "where there is one with a torch built for it"
        )
    names = gpus.visible()
    index = gpus.claim(names) if names else 0
    if rehearsal:
        say(f"rehearsal: on the CPU in place of GPU {names[index] if names else 'none'}")
        return torch.device("cpu")
    return torch.device("cuda", index)


def set_numerics() -> None:
    """Keep float32 as it is on a GPU, and bits the same from run to run.

    By default, cuDNN's convolutions take their inputs in TF32, with ten bits of mantissa, and add up in any order.
    """
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def device_name(device) -> str | None:
    """Return the GPU's name, or None for the CPU, whose name provenance knows."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None
