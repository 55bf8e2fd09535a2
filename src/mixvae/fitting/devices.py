"""This file chooses the device that a job computes on, and sets the numerics that keep results reproducible."""

import os

import torch

from mixvae.errors import UserError
from mixvae.fitting import gpus
from mixvae.progress import say


def torch_device(gpu: int, threads: int):
    """Return a torch device, the CPU or with `gpu` the least claimed GPU; limit torch to `threads` and set the numerics.

    Raises UserError when `gpu` is set and torch sees no GPU.
    """
    torch.set_num_threads(threads)
    set_numerics()
    if not gpu:
        return torch.device("cpu")
    rehearsal = bool(os.environ.get(gpus.REHEARSAL))
    if not rehearsal and not torch.cuda.is_available():
        given = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        raise UserError(
            f"gpu: torch {torch.__version__} sees no GPU here (CUDA_VISIBLE_DEVICES is {given}); set gpu: 0 in the config, or "
            "run where there is one with a torch built for it"
        )
    names = gpus.visible()
    index = gpus.claim(names) if names else 0
    if rehearsal:
        say(f"rehearsal: on the CPU in place of GPU {names[index] if names else 'none'}")
        return torch.device("cpu")
    return torch.device("cuda", index)


def set_numerics() -> None:
    """Make a GPU compute in full float32 and give the same bits every time.

    By default, cuDNN's convolutions round their inputs to TF32, which has ten bits of mantissa, and add up in any order.
    """
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def device_name(device) -> str | None:
    """Return the GPU's name; None for the CPU, whose name provenance records."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None
