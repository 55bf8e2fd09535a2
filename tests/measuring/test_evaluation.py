"""The importance-weighted evaluation: independence of batches and chunks, memory, and its diagnostics."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from support.project import ROOT
from support.specs import points, small_spec

from mixvae.fitting.runs import build_for
from mixvae.measuring import evaluation, extras
from mixvae.measuring.evaluation import evaluate, metrics, pareto_k
from mixvae.measuring.extras import extra_metrics
from mixvae.study import parse_run

VAMP_IAF = {"prior": {"name": "vamp", "components": 10}, "flow": {"name": "iaf", "hidden": [8]}}


def model_and_test(prepared, **changes):
    data = prepared("digits")
    return build_for(small_spec(K=3, **changes), data), points(data, n=20)


def test_chunks_over_points_do_not_change_the_estimates(prepared, monkeypatch):
    model, x = model_and_test(prepared, **VAMP_IAF)
    whole = evaluate(model, x, 150, seed=0)
    monkeypatch.setattr(evaluation, "ELEMENTS", {"cpu": 1})
    one_by_one = evaluate(model, x, 150, seed=0)
    np.testing.assert_allclose(one_by_one["nll"], whole["nll"], rtol=1e-6)


def test_another_seed_is_another_estimate(prepared):
    model, x = model_and_test(prepared, prior={"name": "mog", "components": 5})
    few, many = (evaluate(model, x, L, seed=0) for L in (64, 20 * 64))
    assert (many["nll"] - few["nll"]).mean() < 0  # from above
    assert not np.array_equal(few["nll"], evaluate(model, x, 64, seed=1)["nll"])


def test_no_array_of_samples_by_points_is_ever_held(prepared, monkeypatch):
    """However many samples, the decoder sees at most a block of them, and at most ELEMENTS numbers at once."""
    model, x = model_and_test(prepared, prior={"name": "mog", "components": 5})
    seen = []
    model.decoder.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    monkeypatch.setattr(evaluation, "ELEMENTS", {"cpu": 40_000})
    evaluate(model, x, 1000, seed=0)
    assert max(shape[0] for shape in seen) == evaluation.SAMPLE_BLOCK["cpu"]
    assert max(shape.numel() for shape in seen) <= 40_000
    assert sum(shape[0] * shape[2] for shape in seen) == 1000 * len(x)


@pytest.mark.slow
def test_memory_stays_bounded_with_a_wide_prior_and_many_samples(tmp_path):
    """In a process of its own, whose peak is known: 5,000 samples, K = 4, a VampPrior of 500 pseudo-inputs."""
    code = """
import re, torch
from pathlib import Path
from support.specs import small_spec
from mixvae.measuring.evaluation import evaluate
from mixvae.models import build
import arviz_stats.base
torch.set_num_threads(1)
x = torch.rand(6000, 64)
model = build(small_spec(K=4, latent=8, prior={"name": "vamp", "components": 500}), x, (1, 8, 8))
assert model.prior.components == 500
evaluate(model, x[:1].round(), 30, 0)
def peak():  # of this process; getrusage would count the parent's before exec too
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before = peak()
evaluate(model, x[:24].round(), 5000, 0)
print(peak() - before)
"""
    path = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"}
    result = subprocess.run([sys.executable, "-c", code], env=os.environ | path, capture_output=True, text=True, check=True)
    assert 5 < float(result.stdout) < 250


def test_matched_nll_uses_as_many_samples_for_every_k(prepared):
    model, x = model_and_test(prepared, prior={"name": "mog", "components": 5})
    full = evaluate(model, x, 3 * evaluation.SAMPLE_BLOCK["cpu"], seed=0)
    third = evaluate(model, x, evaluation.SAMPLE_BLOCK["cpu"], seed=0)
    np.testing.assert_allclose(full["nll_matched"], third["nll"], rtol=1e-6)


@pytest.mark.parametrize("shape", [0.3, 0.9])
def test_pareto_k_recovers_the_shape_of_a_pareto_tail(shape):
    weights = np.random.default_rng(0).pareto(1 / shape, size=(20, 20_000)) + 1
    estimated = pareto_k(np.log(weights))
    assert estimated.shape == (20,)
    assert abs(np.mean(estimated) - shape) < 0.05


def test_pareto_k_where_no_tail_can_be_fitted():
    rng = np.random.default_rng(0)
    rows = np.stack([np.full(400, -3.0), rng.normal(0, 1000, 400), rng.normal(0, 0.1, 400)])
    equal, vanishing, plain = pareto_k(rows)
    assert (pareto_k(rows[:, :20]) == np.inf).all()
    assert equal == 0
    assert vanishing == np.inf
    assert plain < 0.5


def test_metrics_come_with_standard_errors_over_points(prepared):
    model, x = model_and_test(prepared, prior={"name": "mog", "components": 5})
    estimates = evaluate(model, x, 50, seed=0)
    result = metrics(estimates)
    assert result["nll"]["value"] == pytest.approx(estimates["nll"].mean())
    assert result["nll"]["stderr"] == pytest.approx(estimates["nll"].std(ddof=1) / np.sqrt(20))
    components = [result[f"elbo_component_{k}"]["value"] for k in (1, 2, 3)]
    assert np.mean(components) + result["jsd"]["value"] == pytest.approx(result["elbo"]["value"], abs=1e-5)


def test_squared_errors_of_a_gaussian_likelihood_are_those_of_the_reconstructions(prepared, monkeypatch):
    data = prepared("digits")
    x = torch.from_numpy(data.points("test", binary=False)[:30])
    spec = small_spec(model="mvae", likelihood="gaussian", K=1)
    model = build_for(spec, data).eval()
    with torch.no_grad():
        error = (model.reconstruct(x)[0] - x).square().sum(1).numpy()  # at the posterior's mean
    monkeypatch.setattr(extras, "CHUNK", 7)
    result = extra_metrics(model, spec, x, "grey_image")
    assert result.keys() == {"mse", "rmse"}
    assert result["mse"]["value"] == pytest.approx(error.mean(), rel=1e-5)
    assert result["mse"]["stderr"] == pytest.approx(error.std(ddof=1) / 30**0.5, rel=1e-5)
    assert result["rmse"]["value"] == pytest.approx(error.mean() ** 0.5, rel=1e-5)
    # the delta method against the jackknife
    leave_one_out = np.sqrt((error.sum() - error) / 29)
    jackknife = np.sqrt(29 / 30 * ((leave_one_out - leave_one_out.mean()) ** 2).sum())
    assert result["rmse"]["stderr"] == pytest.approx(jackknife, rel=0.05)


def test_errors_of_a_mixture_are_averaged_over_one_sample_of_every_component(prepared):
    data = prepared("toy1d")
    spec = small_spec(dataset="toy1d", likelihood="gaussian", K=3)
    model, x = build_for(spec, data).eval(), points(data, n=200)
    torch.manual_seed(5)
    with torch.no_grad():
        expected = np.mean([((model.reconstruct(x) - x) ** 2).mean().item() for _ in range(30)])
    assert extra_metrics(model, spec, x, "real")["mse"]["value"] == pytest.approx(expected, rel=0.02)


def test_what_else_a_system_is_measured_by(prepared, monkeypatch):
    data, small = prepared("digits"), {"latent": 2, "encoder": {"hidden": [6]}, "decoder": {"hidden": [6]}}
    x = torch.from_numpy(data.points("test", binary=False)[:40])
    spec = small_spec(model="mvae", likelihood="gaussian", K=3, **small)
    result = extra_metrics(build_for(spec, data), spec, x, "grey_image")
    assert {"mse", "rmse", "dhsic", "dhsic_null_median", "dhsic_null_95"} <= result.keys()
    assert result["dhsic_null_median"]["value"] < result["dhsic_null_95"]["value"]

    # without the classifier's weights the cell says so, and nothing fails
    colours = prepared("colours")
    spec = small_spec(dataset="colours", model="mvae", likelihood="gaussian", K=1, **small)
    model = build_for(spec, colours)
    monkeypatch.setattr("mixvae.measuring.inception.classifier", lambda: "no internet")
    entry = extra_metrics(model, spec, points(colours, n=5), "colour_image")["inception_score"]
    assert entry == {"value": None, "stderr": None, "mc_error": None, "unit": "not measured: no internet"}

    spec = parse_run({"model": "toy", "dataset": "bivariate", "K": 1})
    model = build_for(spec, prepared("bivariate"))
    with torch.no_grad():
        model.mean.fill_(1.0)
        model.log_var.fill_(2 * np.log(0.5))
    entry = extra_metrics(model, spec, points(prepared("bivariate"), n=5), "density")["kl"]
    # the fitted component is the target's second, of weight 0.8; the first is `distance` deviations away along the diagonal
    distance = 2 * 2**0.5 / 0.5
    expected, _ = integrate.quad(
        lambda u: -stats.norm.pdf(u) * np.log(0.8 + 0.2 * np.exp(-distance * u - distance**2 / 2)), -9, 9
    )
    assert entry["value"] == pytest.approx(expected, abs=1e-5)
    assert entry["unit"] == "nats"

    for likelihood in ("bernoulli", "gaussian"):
        spec = parse_run({"model": "constant", "dataset": "digits", "likelihood": likelihood})
        assert extra_metrics(build_for(spec, data), spec, x, "grey_image") == {}


def test_an_exact_likelihood_has_no_diagnostics(prepared):
    data = prepared("digits")
    spec = parse_run({"model": "constant", "dataset": "digits", "likelihood": "bernoulli"})
    estimates = evaluate(build_for(spec, data), points(data, n=9), 1, seed=0)
    result = metrics(estimates)
    assert result.keys() == {"elbo", "nll", "nll_miselbo"}
    assert result["nll"]["value"] == pytest.approx(-result["elbo"]["value"])
