"""The floor of a training step: its matrix products and convolutions, forward and backward, and Adam; nothing else."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mixvae.fitting.adam import Adam
from mixvae.fitting.graphs import Replayed


class _Recorder(TorchDispatchMode):
    """Notes every operation that is a matrix product or a convolution, with stand-ins for the tensors that it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], Any]] = []
        self.stand_ins: dict[tuple[Any, ...], Tensor] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function.overloadpacket in flop_registry:
            given = torch.utils._pytree.tree_map_only(Tensor, self._stand_in, (args, kwargs))
            self.calls.append(lambda: function(*given[0], **given[1]))
        return function(*args, **kwargs)

    def _stand_in(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the same layout, the same one for all that are alike: what a step keeps need not be held twice."""
        key = tensor.shape, tensor.stride(), tensor.dtype
        if key not in self.stand_ins:
            size = 1 + sum((side - 1) * stride for side, stride in zip(tensor.shape, tensor.stride(), strict=True))
            values = torch.randn(size, dtype=tensor.dtype, device=tensor.device)
            self.stand_ins[key] = values.as_strided(tensor.shape, tensor.stride())
        return self.stand_ins[key]


def floor_of(step: Callable[[], Any], parameters: Sequence[nn.Parameter]) -> Callable[[], object]:
    """Return a function that repeats a step's products on drawn tensors, and a step of fused Adam on parameters of these shapes.

    On a GPU it is a CUDA graph, as the step is.

    Arguments:
        step: Runs a model forward and backward, once.
        parameters: What Adam changes.
    """
    recorder = _Recorder()
    with recorder:
        step()
    own = [nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    for parameter in own:
        parameter.grad = 1e-3 * torch.randn_like(parameter)
    optimiser = Adam(own, 5e-4)
    nothing = torch.empty(0, device=own[0].device)

    def floor(nothing: Tensor) -> Tensor:
        with torch.no_grad():
            for call in recorder.calls:
                call()
        optimiser.step()
        return nothing

    replayed = Replayed(floor, len(nothing))
    return lambda: replayed(nothing)
