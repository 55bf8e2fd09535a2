"""Probes, clustering and active units on codes whose answers are known."""

import numpy as np
import pytest
import torch
from support.specs import points, small_spec

from mixvae.data.view import subset_indices
from mixvae.distributions.posteriors import GaussianMixture
from mixvae.fitting.runs import build_for
from mixvae.measuring import labels
from mixvae.measuring import rule_latents as latents


def blobs(n=150, classes=3, distance=20.0, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return rng.normal(size=(n, 4)) + distance * np.eye(classes, 4)[y], y


def test_separated_classes_are_found_by_every_probe_and_by_kmeans():
    (train, y_train), (test, y_test) = blobs(), blobs(seed=1)
    scores = labels.probe(train, y_train, test, y_test, seed=0)
    assert all(entry["value"] >= 0.98 for entry in scores.values())
    scores, clusters = labels.cluster(train, test, y_test, 3, seed=0)
    assert scores["ari"]["value"] == pytest.approx(1.0)
    assert scores["nmi"]["value"] == pytest.approx(1.0)
    assert scores["asw_true"]["value"] == pytest.approx(scores["asw_pred"]["value"])
    assert scores["asw_true"]["value"] > 0.8
    assert len(set(zip(clusters, y_test, strict=True))) == 3


def test_labels_that_have_nothing_to_do_with_the_codes_score_at_chance():
    (train, y_train), (test, _) = blobs(distance=0), blobs(distance=0, seed=1)
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(y_train)
    scores = labels.probe(train, y_train, test, shuffled, seed=0)
    assert all(0.15 < entry["value"] < 0.5 for entry in scores.values())
    expected = np.sqrt(scores["accuracy_knn"]["value"] * (1 - scores["accuracy_knn"]["value"]) / len(test))
    assert scores["accuracy_knn"]["stderr"] == pytest.approx(expected, rel=0.02)
    scores, _ = labels.cluster(train, test, shuffled, 3, seed=0)
    assert abs(scores["ari"]["value"]) < 0.1
    # the silhouette of wrong labels is that of the labels, not that of the clusters
    assert scores["asw_true"]["value"] < 0.05 < scores["asw_pred"]["value"]


def test_features_are_means_then_deviations_of_every_component():
    mean, std = np.arange(12.0).reshape(2, 3, 2), -np.arange(12.0).reshape(2, 3, 2)
    np.testing.assert_array_equal(labels.features(mean, std)[1], [2, 3, 8, 9, -2, -3, -8, -9])


class FixedPosterior(torch.nn.Module):
    """Three latent units whose posterior means vary by known amounts, in two components that agree."""

    sampled_components, noise_size = 2, 3

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def expectation(self, x, noise):
        mean = x * torch.tensor([1.0, 0.11, 0.05])  # variances 1, 0.0121, 0.0025
        return GaussianMixture(mean.expand(2, -1, -1), torch.zeros(2, *mean.shape)).expectation(noise)


def test_active_units_are_those_whose_mean_varies_by_more_than_a_hundredth():
    x = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    assert latents.active_units(FixedPosterior(), x, seed=0) == 2


def test_active_units_under_a_flow_do_not_count_sampling_noise(prepared):
    data = prepared("digits")
    spec = small_spec(flow={"name": "iaf", "hidden": [8]})
    model = build_for(spec, data)
    for parameter in model.encoder.parameters():
        torch.nn.init.zeros_(parameter)  # the posterior ignores x
    assert latents.active_units(model, points(data, n=50), seed=0) == 0


def test_probe_points_are_a_fixed_random_subset():
    chosen = subset_indices(1000, 100)
    assert len(set(chosen)) == 100
    assert chosen.max() > 900
    np.testing.assert_array_equal(chosen, subset_indices(1000, 100))
    np.testing.assert_array_equal(subset_indices(50, 100), np.arange(50))


def test_each_components_codes_are_probed_alone():
    """Component 1 knows the classes and component 2 does not."""
    (train, y_train), (test, y_test) = blobs(), blobs(seed=1)
    noise = np.random.default_rng(0).normal(size=train.shape)
    parts = [(np.stack([x, noise]), np.ones((2, *x.shape))) for x in (train, test)]
    scores = labels.probe_components(parts[0], y_train, parts[1], y_test, seed=0)
    assert scores.keys() == {f"accuracy_{name}_component_{k}" for name in ("svm", "knn", "mlp") for k in (1, 2)}
    assert scores["accuracy_svm_component_1"]["value"] > 0.98
    assert scores["accuracy_svm_component_2"]["value"] < 0.6
    alone = labels.probe(labels.features(*(part[:1] for part in parts[0])), y_train,
                          labels.features(*(part[:1] for part in parts[1])), y_test, seed=0)  # fmt: skip
    assert scores["accuracy_knn_component_1"] == alone["accuracy_knn"]


@pytest.mark.parametrize(
    ("changes", "extra"),
    [
        ({"K": 2}, set()),
        ({"model": "mvae", "likelihood": "gaussian", "K": 2}, {"accuracy_knn_component_1", "accuracy_mlp_component_2"}),
        ({"model": "mvae", "likelihood": "gaussian", "K": 1}, set()),
        ({"model": "cpvae", "K": 4}, {"cluster_accuracy", "cluster_purity"}),
    ],
    ids=["vae", "mvae", "mvae-K1", "cpvae"],
)
def test_label_metrics_of_every_kind_of_system(prepared, changes, extra):
    data, spec = prepared("digits"), small_spec(**changes)
    model = build_for(spec, data)
    x = {part: torch.from_numpy(data.points(part, binary=False)[:150]) for part in ("train", "test")}
    y = {part: data.arrays[f"y_{part}"][:150] for part in x}
    codes = {part: latents.codes(model, inputs) for part, inputs in x.items()}
    scores, clusters = labels.label_metrics(model, spec, codes, y["train"], x["test"], y["test"], classes=10)
    common = {"ari", "nmi", "asw_true", "asw_pred", "accuracy_svm", "accuracy_knn", "accuracy_mlp"}
    assert common | extra <= scores.keys()
    assert any("component" in name for name in scores) == any("component" in name for name in extra)
    assert any(name.startswith("cluster_") for name in scores) == ("cluster_purity" in extra)
    assert clusters.shape == (150,)
    if extra == {"cluster_accuracy", "cluster_purity"}:
        # the most probable category of every point, counted by hand
        assigned = model.categories(x["test"]).argmax(1).numpy()
        majority = sum(np.bincount(y["test"][assigned == c]).max() for c in np.unique(assigned)) / 150
        assert scores["cluster_purity"]["value"] == pytest.approx(majority)
        assert scores["cluster_accuracy"]["value"] <= majority
    # a data set of a single class has nothing to agree with, and one of very many no points to learn them from
    for classes in (1, 31):
        scores, clusters = labels.label_metrics(model, spec, codes, y["train"], x["test"], y["test"], classes)
        assert scores == {}
        assert not clusters.any()
