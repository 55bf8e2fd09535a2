"""What rule bracket makes of a model: gaps against closed forms, a second estimate, and measurements that are cut off."""

import math
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.project import ROOT
from support.specs import points, small_spec
from torch import Tensor

from mixvae.distributions.posteriors import GaussianMixture
from mixvae.files import read_json, sha256
from mixvae.fitting.runs import build_for
from mixvae.measuring import chunks
from mixvae.measuring.adaptive import adapted
from mixvae.measuring.best_posterior import best_component, bounds, fitted
from mixvae.measuring.bracket import METRICS, Points, bracket, log_mean
from mixvae.measuring.chunks import Streams, Unfinished, by_chunks
from mixvae.models.bridge import mixture_bridge
from mixvae.models.objectives import LogTerms
from mixvae.study.jobs import run_file
from mixvae.study.parts import Annealing
from mixvae.study.reading import run_spec

Z, D, B, STD = 3, 6, 4, 0.5
SETTINGS = Annealing(points=6, chains=4, temperatures=6, gap_points=3)


class Linear:
    """x = W z + noise with z ~ N(0, I): everything is known in closed form. It has a model's `log_terms`."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.W = torch.randn(D, Z, dtype=torch.float64)
        self.x = torch.randn(B, Z, dtype=torch.float64) @ self.W.T + STD * torch.randn(B, D, dtype=torch.float64)
        self.precision = torch.eye(Z, dtype=torch.float64) + self.W.T @ self.W / STD**2
        self.mean = torch.linalg.solve(self.precision, (self.x @ self.W / STD**2).T).T
        covariance = self.W @ self.W.T + STD**2 * torch.eye(D, dtype=torch.float64)
        self.log_p = torch.distributions.MultivariateNormal(torch.zeros(D, dtype=torch.float64), covariance).log_prob(self.x)

    def log_joint(self, z: Tensor) -> Tensor:
        z = z.double()
        return self.log_likelihood(z) + torch.distributions.Normal(0, 1).log_prob(z).sum(-1)

    def log_likelihood(self, z: Tensor) -> Tensor:
        return torch.distributions.Normal(z.double() @ self.W.T, STD).log_prob(self.x).sum(-1)

    def log_terms(self, x: Tensor, posterior: GaussianMixture, prior: None, noise: Tensor) -> LogTerms:
        draw = posterior.draw(noise)
        log_prior = torch.distributions.Normal(0, 1).log_prob(draw.z).sum(-1)
        return LogTerms(self.log_likelihood(draw.z), log_prior, draw.log_mixture, draw.log_component)

    def poor(self, K: int) -> GaussianMixture:
        """Return a posterior beside the true one, with standard deviations of its order."""
        generator = torch.Generator().manual_seed(K)
        return GaussianMixture(self.mean.float() + 0.4 * torch.randn(K, B, Z, generator=generator), torch.full((K, B, Z), -3.0))


def streams(axis: str) -> Streams:
    return Streams(0, axis, torch.arange(B), torch.device("cpu"))


def test_the_best_single_gaussian_is_the_mean_field_one():
    model = Linear()
    start = best_component(model, model.x, None, model.poor(3), streams("start")(32 * 3, Z).unflatten(0, (32, 3)))
    found = fitted(model, model.x, None, start, streams("fit"))
    # the KL from a diagonal Gaussian to a Gaussian is least at the same mean and the diagonal of the precision
    best = -model.precision.diagonal().log()
    torch.testing.assert_close(found.mean[0].double(), model.mean, atol=0.02, rtol=0)
    torch.testing.assert_close(found.log_var[0].double(), best.expand(B, Z), atol=0.1, rtol=0)
    gap = model.log_p - bounds(model, model.x, None, found, streams("bounds")(4000, Z)[:, None]).mean(0)
    exact = 0.5 * (model.precision.diagonal().log().sum() - torch.logdet(model.precision))
    torch.testing.assert_close(gap, exact.expand(B), atol=0.02, rtol=0)


def test_more_components_fit_a_correlated_posterior_better():
    model, gaps = Linear(), {}
    for K in (1, 4):
        q = fitted(model, model.x, None, model.poor(K), streams("fit"))
        noise = streams("bounds")(1000 * K, Z).unflatten(0, (1000, K))
        gaps[K] = (model.log_p - bounds(model, model.x, None, q, noise).mean(0)).mean().item()
    assert 0 < gaps[4] < gaps[1] - 0.05


def test_adaptive_importance_sampling_is_exact_from_a_poor_posterior():
    model = Linear()
    found = log_mean(adapted(mixture_bridge(model.poor(2), model.log_joint), streams("adapted"), Z))
    np.testing.assert_allclose(found["nll"], -model.log_p, atol=0.1)
    assert (np.abs(found["nll"] + model.log_p.numpy()) < 5 * np.sqrt(found["variance"])).all()
    assert (found["ess"] > 300).all()


def test_the_error_of_a_mean_of_weights_is_that_of_repetitions():
    generator = torch.Generator().manual_seed(0)
    log_weights = 0.5 * torch.randn(16, 20_000, generator=generator, dtype=torch.float64)
    found = log_mean(log_weights)
    assert found["variance"].mean() == pytest.approx(found["nll"].var(), rel=0.1)
    assert log_mean(torch.zeros(16, 1))["variance"] == pytest.approx(0)


def model_and_points(prepared, **changes):
    data, spec = prepared("digits"), small_spec(K=2, **changes)
    test, train = (
        Points(x, x, torch.arange(len(x))) for x in (points(data, n=SETTINGS.points), points(data, n=5, part="train"))
    )
    return build_for(spec, data), test, train


def measured(prepared, tmp_path, **changes):
    first = torch.tensor([True, True, True, False, False, False])
    model, test, train = model_and_points(prepared, **changes)
    return bracket(model, SETTINGS, 0, test, train, first, Unfinished(tmp_path, "x"))


def test_every_metric_has_a_value_and_its_errors(prepared, tmp_path):
    result, arrays = measured(prepared, tmp_path)
    assert set(result) == set(METRICS)
    for name, entry in result.items():
        assert math.isfinite(entry["value"]), name
        assert entry["stderr"] > 0, name
        assert (entry["mc_error"] is None) == (name in ("ais_ess", "ais_acceptance")), name
    total = result["approximation_gap"]["value"] + result["amortisation_gap"]["value"]
    bound = (-arrays["nll_ais"][:3] - arrays["elbo_posterior"]).mean()
    assert total == pytest.approx(bound)
    assert result["generalisation_gap"]["value"] == result["nll_ais"]["value"] - result["nll_train"]["value"]


def test_what_cannot_be_measured_says_why(prepared, tmp_path, monkeypatch):
    result, _ = measured(prepared, tmp_path / "a", flow={"name": "coupling", "steps": 2, "hidden": [4]})
    assert result["approximation_gap_one"]["unit"] == "not measured: every component has a flow of its own"
    result, _ = measured(prepared, tmp_path / "b", model="cpvae")
    assert result["approximation_gap"]["unit"].startswith("not measured: the posterior is no mixture")
    monkeypatch.setattr("mixvae.measuring.bracket.MOST_PASSES", 1)
    result, _ = measured(prepared, tmp_path / "c", model="cpvae")
    assert {entry["unit"] for entry in result.values()} == {
        "not measured: every sample would be decoded 2 times, at most 1 are affordable"
    }
    first = torch.ones(6, dtype=torch.bool)
    nothing = SimpleNamespace()
    result, arrays = bracket(nothing, SETTINGS, 0, None, None, first, None)
    assert (set(result), arrays) == (set(METRICS), {})
    assert result["nll_ais"]["unit"] == "not measured: the model has no method `bridge`"


def test_chunks_do_not_change_a_points_value(prepared, tmp_path, monkeypatch):
    whole = measured(prepared, tmp_path / "whole")[1]
    monkeypatch.setattr("mixvae.measuring.bracket.ELEMENTS", {"cpu": 1})
    single = measured(prepared, tmp_path / "single")[1]
    for name, array in whole.items():
        np.testing.assert_allclose(single[name], array, rtol=1e-4, atol=1e-4, err_msg=name)


def test_what_was_done_before_a_kill_is_not_done_again(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "SECONDS", 0)
    done = []

    def compute(part: slice, last: int) -> dict[str, np.ndarray]:
        if part.start >= last:
            raise KeyboardInterrupt
        done.append(part.start)
        return {"a": np.arange(part.start, part.stop), "b": np.zeros((part.stop - part.start, 2))}

    store = Unfinished(tmp_path, "one")
    with pytest.raises(KeyboardInterrupt):
        by_chunks("x", 10, 3, lambda part: compute(part, 6), store)
    found = by_chunks("x", 10, 3, lambda part: compute(part, 99), store)
    assert done == [0, 3, 6, 9]
    np.testing.assert_array_equal(found["a"], np.arange(10))
    assert found["b"].shape == (10, 2)
    # neither what other code made, nor what is damaged, is taken
    by_chunks("x", 10, 5, lambda part: compute(part, 99), Unfinished(tmp_path, "other"))
    (tmp_path / "one-x.npz").write_bytes(b"PK broken")
    by_chunks("x", 10, 5, lambda part: compute(part, 99), store)
    assert done[4:] == [0, 5, 0, 5]


KILLED = """
import os, signal, sys
from pathlib import Path
from mixvae.measuring import chunks, bracket, evaluation
chunks.SECONDS = 0
bracket.ELEMENTS = evaluation.ELEMENTS = {"cpu": 1000}
save = chunks.Unfinished.save
def killing(self, name, arrays):
    save(self, name, arrays)
    if len(next(iter(arrays.values()))) >= 4 and sys.argv[1] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
chunks.Unfinished.save = killing
from mixvae.study.reading import run_spec
from mixvae.measuring.rule_bracket import bracket_run
from mixvae.measuring.rule_evaluate import evaluate_run
run, data, settings = Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5]
{"bracket": bracket_run, "evaluate": evaluate_run}[sys.argv[2]](run_spec(run, settings), run, data, 0)
"""
AIS = '{"samples": 50, "points": 12, "ais": {"points": 12, "chains": 4, "temperatures": 5, "gap_points": 5}}'


@pytest.mark.parametrize(("rule", "made"), [("bracket", ["bracket.json", "bracket.npz"]), ("evaluate", ["pointwise.npz"])])
def test_an_evaluation_that_is_killed_goes_on_and_gives_the_same_bytes(study_copy, rule, made):
    (run,) = study_copy.glob("results/runs/*-K2-*-s0-*")
    data, results = study_copy / "results/datasets/digits", {}
    spec = run_spec(run, AIS)
    folder = run_file(made[0], spec, run).parent
    for how in ("whole", "kill", "on"):
        command = [sys.executable, "-c", KILLED, how, rule, str(run), str(data), AIS]
        done = subprocess.run(command, capture_output=True, text=True, cwd=study_copy, env={"PYTHONPATH": str(ROOT / "src")})
        assert done.returncode == (-signal.SIGKILL if how == "kill" else 0), done.stderr
        left = list(folder.glob(f"unfinished/{rule}/*.npz"))
        if how == "kill":
            assert left
            assert not (folder / made[0]).exists()
            continue
        assert not left
        results[how] = [sha256(folder / name) for name in made]
        for name in (*made, f"provenance/{rule}.json"):
            (folder / name).unlink()
    assert " of 12 points are done" in done.stderr
    assert results["whole"] == results["on"]


def test_the_file_says_what_was_measured(small_study):
    for path in small_study.glob("results/runs/*vae*/measured/*/bracket.json"):
        content = read_json(path)
        assert {key: content[key] for key in ("points", "chains", "temperatures", "gap_points")} == {
            "points": 30, "chains": 4, "temperatures": 5, "gap_points": 10,
        }  # fmt: skip
        with np.load(path.with_suffix(".npz")) as arrays:
            assert content["metrics"]["nll_ais"]["value"] == pytest.approx(arrays["nll_ais"].mean())
            assert set(arrays["first"]) <= set(range(30))
            assert (np.diff(arrays["positions"]) > 0).all()
