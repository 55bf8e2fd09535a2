"""On a GPU, where there is one: the numbers of a CPU, the same bits every time, and no waiting within an epoch."""

import copy
import sys

import numpy as np
import pytest
import torch
from support.systems import SYSTEMS, TRAINING, spec_of

from mixvae.fitting import devices, graphs
from mixvae.fitting.runs import build_for
from mixvae.fitting.training import train
from mixvae.measuring import evaluation
from mixvae.measuring.evaluation import evaluate

if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)
GPU = torch.device("cuda")
# four batches in an epoch, the last of another size: three plain steps, then replayed ones with a plain one between; the KL's weight
# differs from epoch to epoch
UNEVEN = {**TRAINING, "points": 120, "batch_size": 32, "epochs": 4, "warmup": 4}


class Stop(Exception):
    """A training was interrupted."""


class Interruption:
    """A checkpoint that stops training after some steps, and goes on from there when it is asked again."""

    def __init__(self, steps: int) -> None:
        self.steps, self.state = steps, None

    def load(self):
        return self.state

    def due(self) -> bool:
        self.steps -= 1
        return self.steps == 0

    def save(self, state, where: str) -> None:
        self.state = copy.deepcopy(state)
        raise Stop


@pytest.fixture(params=SYSTEMS)
def study(request, prepared):
    """A run, its data and its model at the start."""
    devices.set_numerics()
    spec = spec_of(SYSTEMS[request.param], training={**UNEVEN, "samples": 3} if "iwae" in request.param else UNEVEN)
    data = prepared(spec.dataset)
    return spec, data, build_for(spec, data).to(GPU)


def trained(study, checkpoint=None):
    """Return the last weights and the history without its seconds."""
    spec, data, model = study
    model = copy.deepcopy(model)
    history = train(model, data, spec, GPU, checkpoint).history
    return model.state_dict(), [[value for name, value in row.items() if name != "seconds"] for row in history]


def assert_same_bits(one, other):
    assert one[1] == other[1]
    for name, tensor in one[0].items():
        assert torch.equal(tensor, other[0][name]), name


def test_replayed_steps_are_plain_steps_bit_for_bit(study, monkeypatch):
    replayed = trained(study)
    monkeypatch.setattr(graphs, "PLAIN_CALLS", sys.maxsize)
    assert_same_bits(replayed, trained(study))


@pytest.mark.parametrize("steps", [2, 3, 6])
def test_an_interrupted_training_ends_with_the_same_bits(study, steps):
    interruption = Interruption(steps)
    with pytest.raises(Stop):
        trained(study, interruption)
    assert_same_bits(trained(study, interruption), trained(study))


@pytest.mark.parametrize("steps", [0, 3])
def test_full_batches_are_replayed(study, steps, monkeypatch):
    """Also by a training that goes on from just before an epoch's last batch, which is shorter."""
    calls = []
    plain = graphs.torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(graphs.torch.cuda.CUDAGraph, "replay", lambda self: calls.append(self) or plain(self))
    interruption = Interruption(steps) if steps else None
    if interruption:
        with pytest.raises(Stop):
            trained(study, interruption)
    trained(study, interruption)
    # twelve full batches, three of them plain and, after the interruption, three gone by
    assert len(calls) == (6 if steps else 9)


def test_nothing_waits_for_the_gpu_within_a_step(study, monkeypatch):
    plain = graphs.Replayed.__call__

    def strict(self, argument):
        torch.cuda.set_sync_debug_mode("error")
        try:
            return plain(self, argument)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(graphs, "PLAIN_CALLS", sys.maxsize)
    monkeypatch.setattr(graphs.Replayed, "__call__", strict)
    trained(study)


def test_estimates_are_those_of_a_cpu(study, monkeypatch):
    """From the same noise."""
    spec, data, model = study
    monkeypatch.setattr(
        evaluation,
        "_noise",
        lambda shape, seed, device: torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device),
    )
    # in blocks of the same size, so that the noise is the same
    monkeypatch.setattr(evaluation, "SAMPLE_BLOCK", {"cpu": 16, "cuda": 16})
    x = torch.from_numpy(data.points("test", spec.likelihood.name == "bernoulli")[:5])
    on_gpu = evaluate(model, x, 40, 0)
    reference = evaluate(model.cpu(), x, 40, 0)
    for name in ("elbo", "nll", "nll_miselbo", "reconstruction"):
        np.testing.assert_allclose(on_gpu[name], reference[name], rtol=2e-5, atol=2e-3, err_msg=name)


def test_a_points_estimate_depends_on_no_other_point(study, monkeypatch):
    spec, data, model = study
    x = torch.from_numpy(data.points("test", spec.likelihood.name == "bernoulli")[:4])
    together = evaluate(model, x, 30, 0)
    monkeypatch.setattr(evaluation, "ELEMENTS", {"cuda": 1})
    np.testing.assert_allclose(evaluate(model, x, 30, 0)["nll"], together["nll"], rtol=1e-5)
