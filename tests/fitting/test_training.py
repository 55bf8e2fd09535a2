"""The training loop: protocol, early stopping, determinism, and what it refuses."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from support.specs import points, small_spec
from torch import nn

from mixvae.data.view import to_train_on
from mixvae.errors import UserError
from mixvae.fitting import training
from mixvae.fitting.adam import Adam
from mixvae.fitting.runs import build_for
from mixvae.fitting.training import kl_weight_at, train, validate


def fit(data, spec):
    torch.manual_seed(99)  # whatever happened before must not matter
    model = build_for(spec, data)
    return model, train(model, data, spec, torch.device("cpu"))


def test_warm_up_is_linear_from_zero_to_one():
    assert [kl_weight_at(epoch, 5) for epoch in range(7)] == [0, 0.25, 0.5, 0.75, 1, 1, 1]
    assert kl_weight_at(99, 100) == 1
    assert kl_weight_at(98, 100) < 1
    assert kl_weight_at(0, 0) == kl_weight_at(0, 1) == 1


@pytest.mark.parametrize("dataset", ["digits", "pbmc68k_reduced"])
def test_loss_falls_on_real_data(prepared, dataset):
    spec = small_spec(dataset, training={"epochs": 15, "warmup": 1, "batch_size": 100, "learning_rate": 5e-3})
    _, trained = fit(prepared(dataset), spec)
    objective = [row["train_objective"] for row in trained.history]
    assert objective[-1] > objective[0] + 1


def test_another_seed_is_another_training(prepared):
    a, b = (fit(prepared("digits"), small_spec(seed=seed))[1].weights for seed in (0, 1))
    assert not all(torch.equal(a[name], b[name]) for name in a)


def test_every_model_sees_the_same_batches(prepared, monkeypatch):
    seen: dict[int, list[torch.Tensor]] = {1: [], 3: []}
    for K in seen:
        spec = small_spec(K=K, latent=2 * K)
        model = build_for(spec, prepared("digits"))
        original = model.log_terms

        def spy(x, *rest, K=K, original=original):
            if torch.is_grad_enabled():
                seen[K].append(x)
            return original(x, *rest)

        monkeypatch.setattr(model, "log_terms", spy)
        train(model, prepared("digits"), spec, torch.device("cpu"))
    assert len(seen[1]) == 3 * 7
    assert all(torch.equal(a, b) for a, b in zip(seen[1], seen[3], strict=True))
    assert set(torch.cat(seen[1]).unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(torch.cat(seen[1][:7]).sum(0), torch.cat(seen[1][7:14]).sum(0))  # binarised anew


def scripted(monkeypatch, values):
    """Replace the validation objective by given values."""
    sequence = iter(values)
    monkeypatch.setattr(training, "validate", lambda *_: next(sequence))


def test_patience_counts_after_the_warm_up_and_the_best_epoch_is_kept(prepared, monkeypatch):
    # beta reaches 1 at epoch 3; the best epoch lies before, so patience 3 ends at epoch 6
    values = [-50.0, -40.0, -60.0, -60.0, -60.0, -60.0, -60.0, -60.0, -60.0]
    scripted(monkeypatch, values)
    _, trained = fit(prepared("digits"), small_spec(training={"epochs": 9, "warmup": 4, "patience": 3, "batch_size": 700}))
    assert (trained.best_epoch, trained.stopped_by, len(trained.history)) == (1, "patience", 7)


def test_budget_ends_training_and_says_so(prepared, monkeypatch):
    scripted(monkeypatch, [-5.0, -4.0, -3.0])
    _, trained = fit(prepared("digits"), small_spec(training={"epochs": 3, "warmup": 1, "patience": 3, "batch_size": 700}))
    assert (trained.best_epoch, trained.stopped_by) == (2, "budget")


def test_kept_weights_are_those_of_the_best_epoch(prepared, monkeypatch):
    spec = small_spec(training={"epochs": 4, "warmup": 1, "batch_size": 700})
    snapshots, scores = [], iter([-5.0, -1.0, -4.0, -3.0])

    def snapshot(model, *_):
        snapshots.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return next(scores)

    monkeypatch.setattr(training, "validate", snapshot)
    _, trained = fit(prepared("digits"), spec)
    assert trained.best_epoch == 1
    assert all(torch.equal(trained.weights[name], snapshots[1][name]) for name in trained.weights)
    assert not all(torch.equal(trained.weights[name], snapshots[3][name]) for name in trained.weights)


def test_validation_is_the_bound_at_beta_one_in_evaluation_mode(prepared):
    spec = small_spec("pbmc68k_reduced", prior={"name": "mog", "components": 3})
    data = prepared("pbmc68k_reduced")
    model = build_for(spec, data).train()
    x = points(data, "valid")
    first = validate(model, x, 1, 0)
    assert first == validate(model, x, 1, 0) != validate(model, x, 1, 1)
    assert not model.training
    # averaged over other noise, the bound written out
    with torch.no_grad():
        q, prior = model.posterior(x), model.prior_distribution(torch.float64)
        z = q.draw(torch.randn(200, 2, len(x), 3)).z
        log_q = torch.stack([torch.distributions.Normal(q.mean[k], q.std[k]).log_prob(z).sum(-1) for k in range(2)])
        bound = model.likelihood(model.decoder([z], x), x).log_prob(x) + prior.log_prob(z) - log_q.logsumexp(0) + np.log(2)
    scores = [validate(model, x, 1, seed) for seed in range(30)]
    assert np.mean(scores) == pytest.approx(bound.mean().item(), abs=4 * np.std(scores) / 30**0.5)


def test_the_objective_weighs_the_kl_by_the_epochs_beta(prepared):
    _, trained = fit(prepared("digits"), small_spec(training={"epochs": 5, "warmup": 5, "batch_size": 300}))
    for row in trained.history:
        assert row["train_objective"] == pytest.approx(-row["train_reconstruction"] - row["beta"] * row["train_kl"], rel=1e-5)
    assert [row["beta"] for row in trained.history] == [0, 0.25, 0.5, 0.75, 1]
    assert trained.history[1]["train_kl"] > 0.01


def test_divergence_names_the_epoch_and_the_term(prepared):
    spec = small_spec(training={"epochs": 3, "warmup": 1, "learning_rate": 1e30})
    with pytest.raises(UserError, match=r"epoch 0, step 1 of 13: train_reconstruction is nan; training diverged"):
        fit(prepared("digits"), spec)


@pytest.mark.parametrize(("column", "term"), [(0, "objective"), (1, "reconstruction"), (2, "kl")])
def test_the_first_step_and_term_that_are_not_finite_are_named(column, term):
    terms = torch.zeros(9, 3, dtype=torch.float64)
    training._refuse_nonfinite(3, terms)
    terms[5, column], terms[7] = -float("inf"), float("nan")
    terms[5, 0] = float("nan")
    named = "-inf" if column else "nan"
    with pytest.raises(UserError, match=f"epoch 3, step 5 of 9: train_{term} is {named}; training diverged"):
        training._refuse_nonfinite(3, terms)


def test_history_is_finite_and_complete(prepared):
    _, trained = fit(prepared("digits"), small_spec())
    assert [row["epoch"] for row in trained.history] == [0, 1, 2]
    values = np.array([[row[name] for name in ("train_objective", "train_kl", "valid_bound")] for row in trained.history])
    assert np.isfinite(values).all()
    last = trained.history[-1]
    assert last["train_objective"] == pytest.approx(-last["train_reconstruction"] - last["train_kl"])


def batches_of(monkeypatch, data, spec):
    """Train and return the model and every batch of points that it was trained on."""
    model, seen = build_for(spec, data), []
    original = model.objective
    monkeypatch.setattr(model, "objective", lambda x, *rest: seen.append(x) or original(x, *rest))
    return train(model, data, spec, torch.device("cpu")), seen


def test_colour_images_are_flipped_left_to_right_in_half_of_all_cases(prepared, monkeypatch):
    data = prepared("colours")
    settings = {"epochs": 4, "warmup": 1, "batch_size": 60}
    spec = small_spec(dataset="colours", likelihood="gaussian", K=1, training=settings | {"flip": True})
    _, seen = batches_of(monkeypatch, data, spec)
    images = torch.from_numpy(data.points("train", binary=False)).view(-1, 3, 8, 8)
    known = {image.numpy().tobytes(): False for image in images} | {
        image.flip(-1).contiguous().numpy().tobytes(): True for image in images
    }
    turned = [known[image.numpy().tobytes()] for image in torch.cat(seen)]  # any other image would be a KeyError
    assert len(turned) == 4 * 240
    assert abs(np.mean(turned) - 0.5) < 4 * 0.5 / len(turned) ** 0.5
    assert not np.array_equal(turned[:240], turned[240:480])
    _, plain = batches_of(monkeypatch, data, small_spec(dataset="colours", likelihood="gaussian", K=1, training=settings))
    assert not any(known[image.numpy().tobytes()] for image in torch.cat(plain))  # only when asked for


def test_real_numbers_are_trained_on_as_they_are(prepared, monkeypatch):
    data = prepared("toy1d")
    spec = small_spec(dataset="toy1d", likelihood="gaussian", training={"epochs": 1, "warmup": 1, "points": 500})
    _, seen = batches_of(monkeypatch, data, spec)
    found = torch.cat(seen).flatten()
    assert len(found) == 500
    assert set(found.tolist()) <= set(data.points("train", binary=False).flatten().tolist())


def test_fewer_points_are_the_same_for_every_model_and_bound_the_validation_too(prepared, monkeypatch):
    data, seen, sizes = prepared("digits"), {}, []
    original = training.validate
    monkeypatch.setattr(training, "validate", lambda model, x, *rest: sizes.append(len(x)) or original(model, x, *rest))
    for K in (1, 3):
        spec = small_spec(K=K, seed=K, training={"epochs": 2, "warmup": 1, "batch_size": 40, "points": 90})
        with monkeypatch.context() as patch:
            patch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape[0], 0.5))  # binarise at one half
            _, batches = batches_of(patch, data, spec)
        assert [len(batch) for batch in batches] == [40, 40, 10] * 2
        seen[K] = {point.numpy().tobytes() for point in torch.cat(batches)}
    assert sizes == [90] * 4
    chosen = to_train_on(data, spec) > 0.5
    assert seen[1] == seen[3] == {point.numpy().tobytes() for point in chosen.float()}


def test_more_samples_train_the_iwae_bound(prepared, monkeypatch):
    """The value is log 1/L sum_l w per component, averaged, above the average of log w; validation likewise."""
    data = prepared("digits")
    spec = small_spec(training={"epochs": 2, "warmup": 1, "batch_size": 300, "samples": 5})
    model, trained = fit(data, spec)
    for row in trained.history:
        assert row["train_objective"] > -row["train_reconstruction"] - row["train_kl"] + 0.05
    x = points(data, "valid")
    noise = torch.randn(5, 2, len(x), 3)
    with torch.no_grad():
        w = model.log_terms(x, model.posterior(x), model.prior_distribution(), noise).log_weights()
        value = model.objective(x, 1.0, noise).value
    np.testing.assert_allclose(value, (w.logsumexp(0) - np.log(5)).mean(0), atol=1e-4)
    one, five, many = (np.mean([validate(model, x, L, seed) for seed in range(3)]) for L in (1, 5, 100))
    assert one < five < many


def test_a_model_starts_from_the_points_it_is_trained_on_and_from_no_other_data_set(prepared):
    data = prepared("digits")
    spec = small_spec(prior={"name": "vamp", "components": 10}, training={"epochs": 2, "warmup": 1, "points": 60})
    free = build_for(spec, data).prior.free.detach()
    used = to_train_on(data, spec).clamp(0.01, 0.99)
    assert len(free) == 6  # one per ten of 60
    assert all((used == pseudo).all(1).any() for pseudo in free)
    with pytest.raises(UserError, match="the data are of pbmc68k_reduced, but the run is on digits"):
        build_for(spec, prepared("pbmc68k_reduced"))


def test_optimiser_takes_torchs_own_steps_to_the_bit():
    torch.manual_seed(0)
    start = [torch.randn(4, 3), torch.randn(5), torch.randn(2)]
    ours, theirs = ([nn.Parameter(tensor.clone()) for tensor in start] for _ in range(2))
    optimisers = Adam(ours, 0.01), torch.optim.Adam(theirs, lr=0.01, fused=True)
    for step in range(5):
        for parameters, optimiser in zip((ours, theirs), optimisers, strict=True):
            optimiser.zero_grad()
            # one parameter gets a gradient later than the others
            sum((parameter**4).sum() for parameter in parameters[: 2 + (step > 2)]).backward()
            optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not torch.equal(ours[2], start[2])


def test_training_does_not_import_torchs_compiler():
    code = "import sys, torch; from mixvae.fitting.adam import Adam; from mixvae.fitting import training; "
    code += "p = torch.nn.Parameter(torch.ones(1)); p.sum().backward(); Adam([p], 0.1).step(); "
    code += "sys.exit('torch._dynamo' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
