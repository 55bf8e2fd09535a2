"""Every system through the same checks: a new one adds a row to SYSTEMS, and its plain case to `plain_terms`."""

import copy
import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
import torch
from support.specs import points
from support.systems import SYSTEMS, spec_of
from torch.distributions import Bernoulli, Categorical, Independent, MixtureSameFamily, Normal
from torch.utils._python_dispatch import TorchDispatchMode

from mixvae.data.prepared import Prepared
from mixvae.data.targets import TARGETS
from mixvae.data.view import to_measure_on
from mixvae.distributions.flows import ComponentFlows
from mixvae.errors import UserError
from mixvae.fitting.adam import Adam
from mixvae.fitting.runs import build_for, load_run, save_run
from mixvae.fitting.training import Trained, train, validate
from mixvae.measuring.evaluation import evaluate
from mixvae.study import Run, parse_run_json


class System(NamedTuple):
    """One row: its run, its data, the model with the best weights of a short training, and the bound it started from."""

    spec: Run
    data: Prepared
    model: torch.nn.Module
    trained: Trained
    initial: float

    @property
    def x(self) -> torch.Tensor:
        return self.inputs("test", 6)

    def inputs(self, part: str, n: int) -> torch.Tensor:
        binary = self.spec.likelihood.name == "bernoulli"
        return points(self.data, part, n) if binary else torch.from_numpy(self.data.points(part, False)[:n])


def fit(spec: Run, data: Prepared) -> tuple[torch.nn.Module, Trained]:
    model = build_for(spec, data)
    return model, train(model, data, spec, torch.device("cpu"))


@pytest.fixture(scope="module", params=SYSTEMS)
def system(request, prepared) -> System:
    spec = spec_of(SYSTEMS[request.param])
    data = prepared(spec.dataset)
    held_out = to_measure_on(data, spec, "valid", spec.training.points).x
    initial = validate(build_for(spec, data), held_out, spec.training.samples, spec.seed)
    model, trained = fit(spec, data)
    model.load_state_dict(trained.weights)
    return System(spec, data, model.eval(), trained, initial)


def terms_of(model, x, noise, dtype=torch.float32):
    return model.log_terms(x, model.posterior(x), model.prior_distribution(dtype), noise)


def noise_for(model, x, L=2):
    return torch.randn(L, model.sampled_components, len(x), model.noise_size, dtype=x.dtype)


def test_gradients_reach_every_parameter(system):
    model = build_for(system.spec, system.data).train()
    x = system.inputs("train", 60)
    model.objective(x, 1.0, noise_for(model, x)).value.mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_a_short_training_raises_the_bound_and_stays_finite(system):
    history = system.trained.history
    assert all(np.isfinite(list(row.values())).all() for row in history)
    assert history[-1]["train_objective"] > history[0]["train_objective"]
    assert history[system.trained.best_epoch]["valid_bound"] > system.initial
    objective = system.model.objective(system.x, 0.5, noise_for(system.model, system.x))
    assert all(torch.isfinite(part).all() for part in objective)


def shapes_of(spec: Run) -> tuple[int, int, int, int]:
    """Rows and width of the codes, width of the expectation, and rows of a reconstruction."""
    match spec.model:
        case "vae":
            return spec.K, spec.latent, spec.latent, spec.K
        case "hvae":
            return spec.K, spec.latent + spec.latent_top, spec.latent + spec.latent_top, spec.K
        case "mvae":
            return spec.K, spec.latent, spec.K * spec.latent, 1
        case _:
            return 1, spec.latent, spec.latent, 1


@torch.no_grad()
def test_every_method_has_the_shape_it_promises(system):
    spec, model, x = system.spec, system.model, system.x
    B, D = x.shape
    assert (spec.K if spec.model in ("vae", "hvae", "toy") else 1) == model.sampled_components
    for L in (1, 2):
        noise = noise_for(model, x, L)
        assert [term.shape for term in terms_of(model, x, noise)] == [(L, model.sampled_components, B)] * 4
        assert [part.shape for part in model.objective(x, 1.0, noise)] == [(B,)] * 3
    if spec.model == "toy":
        assert model.draws(5).shape == (spec.K, 5, 2)
        assert model.density(x).shape == (B,)
        return
    rows, width, expected, reconstructions = shapes_of(spec)
    mean, std = model.codes(x)
    assert mean.shape == std.shape == (rows, B, width)
    assert (std > 0).all()
    assert model.expectation(x, noise).shape == (B, expected)
    assert model.reconstruct(x).shape == (reconstructions, B, D)
    if spec.model in ("cpvae", "gmvae", "gmvae_shu"):
        categories = model.categories(x)
        assert categories.shape == (B, spec.K)
        np.testing.assert_allclose(categories.sum(1), 1, atol=1e-5)
    if spec.model == "mvae":
        assert model.reconstruct_components(x).shape == (spec.K, B, D)


@torch.no_grad()
def test_samples_and_reconstructions_are_in_the_range_of_the_data(system):
    spec, model, x = system.spec, system.model, system.x
    torch.manual_seed(0)
    if spec.model == "toy":
        # of every component the samples are those that its density is the most likely for
        z = model.draws(500)
        assert z.isfinite().all()
        assert model.density(z.flatten(0, 1)).mean() > model.density(z.flatten(0, 1) + 1).mean()
        return
    made = [model.reconstruct(x).flatten(0, 1)]
    if spec.likelihood.name in ("nb", "zinb"):
        # expected counts of a cell share out its library, from which zero inflation takes
        total = x.sum(1).expand(made[0].shape[0] // len(x), -1).flatten()
        assert (made[0] > 0).all()
        assert (made[0].sum(1) < (1 + 1e-4) * total).all()
        if spec.likelihood.name == "nb":
            np.testing.assert_allclose(made[0].sum(1), total, rtol=1e-4)
        return
    made.append(model.sample(50))
    assert made[-1].shape == (50, x.shape[1])
    if hasattr(model, "categories") or (
        spec.model == "vae" and spec.prior.name in ("mog", "vamp") and spec.flow.name == "none"
    ):
        made.append(model.sample_component(1, 50))
        assert made[-1].shape == (50, x.shape[1])
    made = torch.cat(made)
    assert made.isfinite().all()
    assert made.std() > 0
    if system.data.meta["kind"] != "real":
        assert ((made >= 0) & (made <= 1)).all()
    if getattr(spec.decoder, "name", None) == "pixelcnn":
        assert set(made.unique().tolist()) == {0.0, 1.0}


def test_a_saved_run_comes_back_the_same(system, tmp_path):
    save_run(tmp_path, system.spec, system.model, system.trained)
    saved = parse_run_json((tmp_path / "spec.json").read_text())
    assert saved.training_spec() == system.spec.training_spec()
    loaded = load_run(tmp_path, system.spec, system.data).eval()
    noise = noise_for(system.model, system.x)
    with torch.no_grad():
        ours, theirs = (terms_of(model, system.x, noise) for model in (system.model, loaded))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_the_same_spec_gives_the_same_bytes(system):
    torch.manual_seed(99)  # whatever happened before must not matter
    _, again = fit(system.spec, system.data)
    assert again.weights.keys() == system.trained.weights.keys()
    assert all(torch.equal(again.weights[name], tensor) for name, tensor in system.trained.weights.items())


def test_evaluation_is_ordered_and_a_point_does_not_depend_on_its_batch(system):
    model, x = system.model, system.x
    together = evaluate(model, x, 40, seed=0)
    assert np.all(together["nll"] <= together["nll_miselbo"] + 1e-10)
    assert np.all(together["nll_miselbo"] <= -together["elbo"] + 1e-10)
    assert model.sampled_components == 1 or np.all(together["jsd"] <= np.log(model.sampled_components) + 1e-5)
    np.testing.assert_allclose(-together["elbo"], together["reconstruction"] + together["kl"], atol=1e-9)
    np.testing.assert_allclose(together["elbo"], together["elbo_components"].mean(1) + together["jsd"], atol=1e-6)
    alone = evaluate(model, x[4:5], 40, seed=0, indices=torch.tensor([4]))
    others = torch.cat([system.inputs("valid", 4), x[4:]])
    among_others = evaluate(model, others, 40, seed=0)
    for name in ("nll", "nll_miselbo", "elbo", "elbo_components", "ess", "pareto_k"):
        np.testing.assert_allclose(alone[name][0], together[name][4], rtol=1e-4, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(among_others[name][4], together[name][4], rtol=1e-4, atol=1e-5, err_msg=name)
    # and the noise is the point's own
    assert system.spec.model == "toy" or not np.array_equal(among_others["nll"][:4], together["nll"][:4])


def test_a_nan_in_the_data_is_refused_by_name(system):
    if system.spec.model == "toy":  # which reads no data, so its own numbers are spoilt
        system = system._replace(model=build_for(system.spec, system.data))
        torch.nn.init.constant_(system.model.mean[:1], float("nan"))
        with pytest.raises(UserError, match="test point 0: an importance weight is not finite"):
            evaluate(system.model, system.x, 30, seed=0)
        return
    x = system.x
    x[4, -1] = float("nan")
    with pytest.raises(UserError, match="test point 4: an importance weight is not finite"):
        evaluate(system.model, x, 30, seed=0)
    arrays = dict(system.data.arrays)
    for name in ("x_valid", "x_valid_binary"):
        if name in arrays:
            arrays[name] = arrays[name].astype(np.float32)
            arrays[name].reshape(len(arrays[name]), -1)[:, -1] = float("nan")
    with pytest.raises(UserError, match="epoch 0: valid_bound is nan"):
        fit(system.spec, dataclasses.replace(system.data, arrays=arrays))


@pytest.mark.parametrize("name", ["vae-standard-none-K1", "hvae", "mvae", "cpvae", "gmvae", "gmvae_shu"])
def test_log_variances_of_the_posterior_are_clipped(prepared, name):
    """To [-6, 2], however large the networks' outputs."""
    data = prepared("digits")
    # the mixture's moments are what gmvae_shu shows of several components
    spec = spec_of(SYSTEMS[name], **({"K": 1} if name == "gmvae_shu" else {}))
    model = build_for(spec, data)
    for parameter in model.parameters():
        parameter.data.mul_(100.0)
    _, std = model.codes(points(data, n=50))
    np.testing.assert_allclose([std.min().item(), std.max().item()], np.exp([-3.0, 1.0]), rtol=1e-5)


# one component: the plain model, written out


def log_det(flow, z):
    """log|det| of the only component's flow at (L, B, Z), from gradients."""
    z = z.detach().requires_grad_()
    pushed = flow.push(z[:, None]).z[:, 0]
    rows = [torch.autograd.grad(pushed[..., i].sum(), z, retain_graph=True)[0] for i in range(z.shape[-1])]
    return torch.linalg.slogdet(torch.stack(rows, dim=-2)).logabsdet


def gaussian(mean, log_var):
    return Independent(Normal(mean, (0.5 * log_var.clamp(-6, 2)).exp()), 1)


def log_likelihood(model, spec, h, x):
    match spec.likelihood.name:
        case "bernoulli":
            return Bernoulli(logits=h).log_prob(x.expand_as(h)).sum(-1)
        case "gaussian":
            return Normal(h, 0.1).log_prob(x).sum(-1)
        case _:
            return model.likelihood(h, x).log_prob(x)


def log_prior(model, z, base=None, determinant=None):
    """log p(z) of any prior; a VampPrior's components are flowed where the flow is a component's own."""
    match model.prior.__class__.__name__:
        case "StandardPrior":
            return Normal(0.0, 1.0).log_prob(z).sum(-1)
        case "MixturePrior":
            components = gaussian(model.prior.mean, model.prior.log_var)
        case "VampPrior":
            u = model.encode(model.prior.constrain(model.prior.free))
            components = gaussian(u.mean[0], u.log_var[0])
    mixture = MixtureSameFamily(Categorical(logits=torch.zeros(components.batch_shape).double()), components)
    if base is not None and model.prior.__class__.__name__ == "VampPrior" and isinstance(model.flow, ComponentFlows):
        return mixture.log_prob(base) - determinant
    return mixture.log_prob(z)


def plain_terms(model, spec, x, noise):
    """log p(x | z), log p(z) and log q(z | x), (L, B) each, of a model with one component from noise (L, 1, B, noise_size)."""
    q = model.posterior(x)
    noise = noise[:, 0]
    match spec.model:
        case "vae":
            base = q.mean[0] + q.std[0] * noise
            z, determinant = model.flow.push(base[:, None]).z[:, 0], log_det(model.flow, base)
            log_q = gaussian(q.mean[0], q.log_var[0]).log_prob(base) - determinant
            log_p = log_prior(model, z, base, determinant)
            return log_likelihood(model, spec, model.decoder([z], x), x), log_p, log_q
        case "hvae":
            top = q.top.mean[0] + q.top.std[0] * noise[..., spec.latent :]
            mean, log_var = (part[0] for part in model.lower(q.features, top))
            base = mean + (0.5 * log_var).exp() * noise[..., : spec.latent]
            z, determinant = model.flow.push(base[:, None]).z[:, 0], log_det(model.flow, base)
            log_q = (
                gaussian(q.top.mean[0], q.top.log_var[0]).log_prob(top) + gaussian(mean, log_var).log_prob(base) - determinant
            )
            log_p = log_prior(model, top)
            log_p = log_p + gaussian(*model.conditional(top).chunk(2, dim=-1)).log_prob(z)
            return log_likelihood(model, spec, model.decoder([z, top], x), x), log_p, log_q
        case "mvae":
            z = q.mean[0] + (0.5 * q.log_var[0]).exp() * noise
            h = model.decoders(z[:, None])[:, 0].sigmoid()
            return (
                log_likelihood(model, spec, h, x),
                Normal(0.0, 1.0).log_prob(z).sum(-1),
                gaussian(q.mean[0], q.log_var[0]).log_prob(z),
            )
        case "cpvae":
            z = q.z.mean[0] + q.z.std[0] * noise[..., : spec.latent]
            h = model.decoder([torch.cat([z, torch.ones_like(z[..., :1])], dim=-1)], x)
            log_p = gaussian(model.prior.mean[0], model.prior.log_var[0]).log_prob(z)
            return log_likelihood(model, spec, h, x), log_p, gaussian(q.z.mean[0], q.z.log_var[0]).log_prob(z)
        case "gmvae":
            both = q.mean[0] + q.std[0] * noise
            z, w = both[..., : spec.latent], both[..., spec.latent :]
            log_p = gaussian(*model.mixture(w).chunk(2, dim=-1)).log_prob(z) + Normal(0.0, 1.0).log_prob(w).sum(-1)
            return (
                log_likelihood(model, spec, model.decoder([z], x), x),
                log_p,
                gaussian(q.mean[0], q.log_var[0]).log_prob(both),
            )
        case "gmvae_shu":
            z = q.mean[0] + (0.5 * q.log_var[0]).exp() * noise[..., : spec.latent]
            log_p = gaussian(model.prior.mean[0], model.prior.log_var[0]).log_prob(z)
            return log_likelihood(model, spec, model.decoder([z], x), x), log_p, gaussian(q.mean[0], q.log_var[0]).log_prob(z)
        case "toy":
            mean, std = model.mean[0], (0.5 * model.log_var[0]).exp()
            base = mean + std * noise
            z = model.flow.push(base[:, None]).z[:, 0]
            log_q = Normal(mean, std).log_prob(base).sum(-1) - log_det(model.flow, base)
            return TARGETS[spec.dataset](z), torch.zeros_like(log_q), log_q


ONE = {
    name: row
    for name, row in SYSTEMS.items()
    if row["K"] == 1 or ("vae-standard" not in name and name[:8] not in ("vae-mog-", "vae-vamp"))
}


@pytest.mark.parametrize("name", ONE)
def test_one_component_is_the_plain_model(prepared, name):
    spec = spec_of(ONE[name], K=1)
    data = prepared(spec.dataset)
    model = build_for(spec, data).eval().double()
    x = (
        points(data, n=3) if spec.likelihood.name == "bernoulli" else torch.from_numpy(data.points("test", False)[:3])
    ).double()
    torch.manual_seed(0)
    L = 300
    noise = noise_for(model, x, L)
    plain = plain_terms(model, spec, x, noise)
    with torch.no_grad():
        terms = terms_of(model, x, noise, torch.float64)
        objective = model.objective(x, 1.0, noise)
    for ours, expected in zip((terms.log_likelihood, terms.log_prior, terms.log_mixture), plain, strict=True):
        np.testing.assert_allclose(ours[:, 0], expected.detach(), atol=1e-7, rtol=1e-8)
    np.testing.assert_allclose(terms.log_component, terms.log_mixture, atol=1e-9)
    # what is trained is the negative reconstruction minus the KL, sampled or in closed form
    reconstruction, kl = -plain[0].detach(), (plain[2] - plain[1]).detach()
    np.testing.assert_allclose(objective.reconstruction, reconstruction.mean(0), rtol=1e-8)
    assert ((objective.kl - kl.mean(0)).abs() < 5 * kl.std(0) / L**0.5 + 1e-9).all()


class OneDevice(TorchDispatchMode):
    """Refuses arrays that are not where the others are, such as indices on the CPU."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        elsewhere = [given for given in args if isinstance(given, torch.Tensor) and given.dim() and given.device.type != "meta"]
        indices = args[1] if "index" in str(function) and isinstance(args[1], list) else []
        elsewhere += [given for given in indices if given is not None and given.device.type != "meta"]
        assert not elsewhere, f"{function} of a tensor on the CPU"
        return function(*args, **(kwargs or {}))


def test_a_training_step_waits_for_no_number(system, monkeypatch):
    """On a GPU, to look at a number is to wait for all that was told it before. Tensors of device "meta" have none to look at."""
    # the one draw that torch does not know for them, and its gradient
    for name in ("_sample_dirichlet", "_dirichlet_grad"):
        monkeypatch.setattr(torch, name, lambda first, *_: torch.empty_like(first))
    model = copy.deepcopy(system.model).to("meta").train()
    optimiser = Adam(model.parameters(), 1e-3)
    x = system.x.to("meta")
    noise = torch.empty(system.spec.training.samples, model.sampled_components, len(x), model.noise_size, device="meta")
    beta = torch.empty((), device="meta", dtype=torch.float64)
    # nor may numbers be sent there, which has to be waited for, too
    for name in ("tensor", "as_tensor", "from_numpy"):
        monkeypatch.delattr(torch, name)
    with OneDevice():
        objective = model.objective(x, beta, noise)
        objective.value.mean().backward()
        optimiser.step()
    assert all(parameter.grad is not None for parameter in model.parameters())
