"""When a function is called and when its recording is replayed, without a GPU; `test_cuda.py` has the rest."""

from __future__ import annotations

import contextlib

import pytest
import torch

from mixvae.fitting.graphs import PLAIN_CALLS, Replayed


class OnGpu:
    """As much of a tensor on a GPU as is asked for."""

    device = torch.device("cuda")

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def clone(self) -> OnGpu:
        return OnGpu(*self.numbers)

    def copy_(self, other: OnGpu) -> None:
        self.numbers = other.numbers


@pytest.fixture
def log(monkeypatch):
    """What happens, in order; a recording remembers where its argument lies and is replayed with what is there then."""
    log: list[tuple] = []

    class Graph:
        def __init__(self) -> None:
            self.generators: list[str] = []

        def register_generator_state(self, generator: str) -> None:
            self.generators.append(generator)

        def replay(self) -> None:
            log.append(("replayed", *self.argument.numbers))

    @contextlib.contextmanager
    def recording(graph: Graph):
        yield
        _, graph.argument = log.pop()
        log.append(("recorded", *graph.generators))

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    return log


def test_arguments_of_one_length_are_replayed_after_the_plain_calls(log):
    replayed = Replayed(lambda argument: log.append(("called", argument)) or "result", 2, ["order"])
    # the first of all is an epoch's last batch, which is shorter
    for numbers in [(0,), *[(1, 2)] * PLAIN_CALLS, (3,), (4, 5), (6,), (7, 8), (9, 10)]:
        assert replayed(OnGpu(*numbers)) == "result"
    shown = [(kind, *(entry.numbers if isinstance(entry, OnGpu) else (entry,) for entry in rest)) for kind, *rest in log]
    assert shown == [
        ("called", (0,)),
        *[("called", (1, 2))] * PLAIN_CALLS,
        ("called", (3,)),
        ("recorded", ("order",)),
        ("replayed", (4,), (5,)),
        ("called", (6,)),
        ("replayed", (7,), (8,)),
        ("replayed", (9,), (10,)),
    ]


def test_on_a_cpu_a_function_is_called():
    replayed = Replayed(lambda x: x + 1, 2)
    for number in range(PLAIN_CALLS + 3):
        assert torch.equal(replayed(torch.full((2,), number)), torch.full((2,), number + 1))
