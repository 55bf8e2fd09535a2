"""What was launched once on a GPU is replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

PLAIN_CALLS = 3
"""A function is called this often before it is recorded, so that the libraries it calls take what memory they need."""


class Replayed:
    """A function that a GPU is told once, as a CUDA graph, and then repeats: the same operations with the same results.

    A small model's training step is some hundred operations of a few microseconds, which take a processor longer to launch one by
    one. On a CPU, and for an argument of another length, as an epoch's last batch may have, the function is called.

    Arguments:
        function: Looks at no number, and its arrays have the same shapes for all arguments of one length. Other tensors that it reads
            or changes must stay where they are.
        length: Of the arguments that are replayed.
        generators: What it draws from, beside torch's own.
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
