"""Every density, estimator and gradient of the library against the naive formulation, in float64."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from support.specs import points, small_spec

from benchmarks.naive import evaluate as evaluate_naively
from benchmarks.naive import naive_of
from mixvae.fitting.runs import build_for
from mixvae.measuring.evaluation import SAMPLE_BLOCK, evaluate
from mixvae.models.objectives import bound
from mixvae.seeds import derive

K, B = 3, 5
IAF = {"name": "iaf", "steps": 2, "hidden": [8, 6]}
COUPLING = {"name": "coupling", "steps": 3, "hidden": [7]}
MOG, VAMP = ({"name": name, "components": 6} for name in ("mog", "vamp"))
CONV = {"name": "conv", "layers": [[3, 5, 1], [4, 3, 2]]}
RELU = {"name": "conv", "layers": [[3, 3, 2]], "activation": "relu"}
PIXELCNN = {"name": "pixelcnn", "layers": 3, "channels": 5}
HVAE = {"model": "hvae", "latent_top": 2, "lower": {"hidden": [8]}, "joint": 7, "conditional": {"hidden": [6]}}
CASES = {
    "one component": {"K": 1},
    "mlp": {},
    "mlp, two layers": {"encoder": {"hidden": [9, 8], "activation": "relu"}, "decoder": {"hidden": [6, 7]}},
    "mlp, no layer": {"encoder": {"hidden": []}, "decoder": {"hidden": []}},
    "mog": {"prior": MOG},
    "vamp": {"prior": VAMP},
    "iaf": {"flow": IAF},
    "alternating iaf": {"flow": {**IAF, "order": "alternating"}},
    "coupling": {"flow": COUPLING},
    "mog, coupling": {"prior": MOG, "flow": COUPLING},
    "vamp, iaf": {"prior": VAMP, "flow": IAF},
    "vamp, coupling": {"prior": VAMP, "flow": COUPLING},
    "conv": {"encoder": CONV},
    "conv, relu": {"encoder": RELU},
    "pixelcnn": {"encoder": CONV, "decoder": PIXELCNN},
    "hvae": HVAE,
    "hvae, one component": {**HVAE, "K": 1},
    "hvae, iaf": {**HVAE, "flow": IAF},
    "hvae, mog, coupling": {**HVAE, "prior": MOG, "flow": COUPLING},
    "hvae, conv": {**HVAE, "encoder": CONV, "lower": RELU},
    "composite": {**HVAE, "encoder": CONV, "lower": CONV, "decoder": PIXELCNN, "prior": VAMP, "flow": IAF},
    "zinb": {"dataset": "pbmc68k_reduced"},
    "zinb, vamp, iaf": {"dataset": "pbmc68k_reduced", "prior": VAMP, "flow": IAF},
}


@pytest.fixture(params=CASES)
def both(request, prepared):
    """A model of the library in float64, far from its start; the naive one with its weights; and points."""
    changes = {"K": K, **CASES[request.param]}
    spec = small_spec(changes.pop("dataset", "digits"), **changes)
    data = prepared(spec.dataset)
    model = build_for(spec, data).double().eval()
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.data.mul_(1.5).add_(0.1 * torch.randn_like(parameter))
    return model, naive_of(model), points(data, n=B).double()


@pytest.mark.parametrize("L", [1, 3])
def test_densities_objective_and_gradients(both, L):
    model, naive, x = both
    noise = torch.randn(L, model.sampled_components, B, model.noise_size, dtype=torch.float64)
    terms = model.log_terms(x, model.posterior(x), model.prior_distribution(torch.float64), noise)
    expected = naive.log_terms(x, naive.posterior(x), naive.given_prior(), noise)
    for name, value in expected._asdict().items():
        torch.testing.assert_close(getattr(terms, name), value, rtol=1e-9, atol=1e-9)

    objective = bound(terms, 0.7).value.mean()
    torch.testing.assert_close(objective, naive.objective(x, 0.7, noise), rtol=1e-10, atol=0)
    naive.prior_once = False
    torch.testing.assert_close(objective, naive.objective(x, 0.7, noise), rtol=1e-10, atol=0)
    naive.prior_once = True
    (-objective).backward()
    (-naive.objective(x, 0.7, noise)).backward()
    for own, source, part in naive.copies.entries:
        assert own.grad.abs().max() > 0
        torch.testing.assert_close(part(source.grad), own.grad, rtol=1e-7, atol=1e-9)


def test_every_number_of_the_weights_is_copied_once(both):
    model, naive, _ = both
    copied = {id(parameter): torch.zeros_like(parameter) for parameter in model.parameters()}
    for own, source, part in naive.copies.entries:
        torch.testing.assert_close(own.detach(), part(source.detach()), rtol=0, atol=0)
        # the gradient of a part's sum is 1 where the part is
        (marked,) = torch.autograd.grad(part(source).sum(), source)
        copied[id(source)] += marked
    assert all((times == 1).all() for times in copied.values())
    assert {id(own) for own, _, _ in naive.copies.entries} == {id(parameter) for parameter in naive.parameters()}


def test_estimators(both):
    """Over two blocks of samples, from the noise that the seed gives to each point and block."""
    model, naive, x = both
    size, seed = SAMPLE_BLOCK["cpu"], 4
    L = size + 6
    sizes = (size, L - size)

    def noise_of(point):
        streams = [torch.Generator().manual_seed(derive(seed, "evaluation", point, block)) for block in range(2)]
        shapes = [(size, model.sampled_components, model.noise_size) for size in sizes]
        return torch.cat([torch.randn(shape, generator=stream) for shape, stream in zip(shapes, streams, strict=True)])

    noise = torch.stack([noise_of(point) for point in range(B)], dim=2).double()
    estimates = evaluate(model, x, L, seed)
    for name, value in evaluate_naively(naive, x, L, model.noise_size, batch=2, noise=noise).items():
        np.testing.assert_allclose(estimates[name], value.numpy(), rtol=1e-10)

    with torch.no_grad():
        terms = naive.log_terms(x, naive.posterior(x), naive.given_prior(), noise)
    likelihood, prior, mixture, component = (term.numpy() for term in terms)
    weights = likelihood + prior - mixture
    pooled, matched = weights.reshape(-1, B), weights[: L // model.sampled_components].reshape(-1, B)
    expected = {
        "reconstruction": -likelihood.mean((0, 1)),
        "kl": (mixture - prior).mean((0, 1)),
        "jsd": (component - mixture).mean((0, 1)),
        "elbo_components": (likelihood + prior - component).mean(0).T,
        "nll_matched": np.log(len(matched)) - logsumexp(matched, axis=0),
        "ess": 1 / (np.exp(pooled - logsumexp(pooled, axis=0)) ** 2).sum(0),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(estimates[name], value, rtol=1e-8, atol=1e-9)
