"""This file records the GPU operations of a function once, as a CUDA graph, and then replays them at every call."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

PLAIN_CALLS = 3
"""How often a function is called before it is recorded, so that the libraries in it have allocated their memory."""


class Replayed:
    """A function whose operations a GPU replays from a CUDA graph, with the same results.

    A small model's training step is some hundred operations of a few microseconds each, and launching them one by one takes
    longer than computing them. On a CPU, and for other lengths (such as an epoch's last batch), the function is called.

    Arguments:
        function: It must not read a tensor's value into python, and its arrays must have the same shapes for all arguments of
            one length. Other tensors that it reads or changes must stay at the same place in memory.
        length: The length of the arguments for which operations are replayed.
        generators: The generators that the function draws from, beside torch's own.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], length: int, generators: Sequence[torch.Generator] = ()) -> None:
        self.function, self.length, self.generators = function, length, generators
        self.plain_calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, argument: Tensor) -> Tensor:
        """Return the function's result, which the next call may overwrite."""
        if argument.device.type != "cuda" or len(argument) != self.length:
            return self.function(argument)
        if self.plain_calls < PLAIN_CALLS:
            self.plain_calls += 1
            return self.function(argument)
        if self.graph is None:
            self._record(argument)
        self.argument.copy_(argument)
        self.graph.replay()
        return self.result

    def _record(self, argument: Tensor) -> None:
        self.argument, self.graph = argument.clone(), torch.cuda.CUDAGraph()
        for generator in self.generators:
            self.graph.register_generator_state(generator)
        with torch.cuda.graph(self.graph):
            self.result = self.function(self.argument)
