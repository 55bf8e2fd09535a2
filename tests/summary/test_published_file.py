"""config/published.csv: well-formed, and what it says is what was published."""

import csv
import math
import re
from collections import Counter

import pytest
from support.project import ROOT

COLUMNS = ["system", "dataset", "binarisation", "metric", "value", "unit", "grade", "source", "match"]
DATASETS = {"mnist", "fashion_mnist", "cifar10", "omniglot", "cortex"}
UNITS = {
    "-elbo": "nats",
    "nll_miselbo": "nats",
    "bpd": "bits/dim",
    "mse": "squared error",
    "rmse": "root squared error",
    "inception_score": "score",
    "cluster_accuracy": "share",
    "cluster_purity": "share",
    "ari": "score",
    "nmi": "score",
    "asw_true": "score",
}
PROBE = re.compile(r"accuracy_(svm|knn|mlp)(_component_[1-4])?")
MODELS = {"vae", "hvae", "mvae", "cpvae", "gmvae", "gmvae_shu"}
# what each key of `match` may be: names, or None for a positive integer
MATCH = {
    "training.samples": None,
    "model": MODELS,
    "K": None,
    "latent": None,
    "prior.name": {"standard", "mog", "vamp"},
    "prior.components": None,
    "flow.name": {"none", "iaf"},
    "encoder.name": {"mlp", "conv"},
    "decoder.name": {"mlp", "deconv", "pixelcnn"},
    "likelihood.name": {"bernoulli", "gaussian", "logistics", "zinb"},
}


def read() -> list[dict[str, str]]:
    with (ROOT / "config/published.csv").open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        rows = list(reader)
    assert reader.fieldnames == COLUMNS
    return rows


ROWS = read()


def matched(row: dict[str, str]) -> dict[str, str]:
    return dict(pair.split("=") for pair in row["match"].split(";") if pair)


def test_every_row_is_complete_and_uses_known_names():
    for row in ROWS:
        # a row with a comma too many or too few has a None
        assert None not in row, row
        assert None not in row.values(), row
        assert all(value == value.strip() for value in row.values()), row
        assert row["system"], row
        assert row["source"], row
        assert row["dataset"] in DATASETS, row
        assert row["binarisation"] in {"dynamic", "static", "stochastic", "none", ""}, row
        assert row["grade"] in {"P", "S", "seed"}, row
        unit = "share" if PROBE.fullmatch(row["metric"]) else UNITS[row["metric"]]
        assert row["unit"] == unit, row


def test_values_are_finite_and_shares_are_shares():
    for row in ROWS:
        value = float(row["value"])
        assert math.isfinite(value), row
        assert value > 0, row
        if row["unit"] == "share" or row["metric"] in ("ari", "nmi", "asw_true"):
            assert value <= 1, row


def test_matches_use_known_keys_and_values():
    for row in ROWS:
        pairs = [pair.split("=") for pair in row["match"].split(";") if pair]
        assert len({key for key, _ in pairs}) == len(pairs), row
        for key, value in pairs:
            assert (value.isdigit() and int(value) > 0) if MATCH[key] is None else value in MATCH[key], row
        if pairs:
            # without these a number would be set beside another architecture or another likelihood
            assert {"model", "K", "encoder.name", "decoder.name", "likelihood.name"} <= {key for key, _ in pairs}, row
        if matched(row).get("model") in ("vae", "hvae"):
            assert {"prior.name", "flow.name"} <= {key for key, _ in pairs}, row
            assert ("prior.components" in matched(row)) == (matched(row)["prior.name"] != "standard"), row


def test_no_row_is_there_twice():
    keys = Counter(tuple(row[name] for name in ("system", "dataset", "binarisation", "metric", "match")) for row in ROWS)
    assert [key for key, count in keys.items() if count > 1] == []


def test_what_is_no_system_of_ours_is_context_only():
    for row in ROWS:
        if row["binarisation"] in ("static", "stochastic") or row["system"].startswith(
            ("convHVAE", "Efficient mixture", "NVAE")
        ):
            assert row["match"] == "", row
        if "context only" in row["source"]:
            assert row["match"] == "", row
        if row["binarisation"] == "dynamic" and row["match"]:
            assert matched(row)["likelihood.name"] == "bernoulli", row


def test_number_of_rows_of_every_table():
    counts = Counter(row["source"] for row in ROWS)
    assert counts["Tomczak & Welling 2018, table 1"] == 24
    assert counts["Lavda et al., table 1"] == 14 + 10
    assert counts["Ye & Bors, table I"] == 4
    assert counts["Ye & Bors, table II"] == 18
    assert counts["Ye & Bors, table III"] == 6 + 3


@pytest.mark.parametrize(
    ("system", "dataset", "binarisation", "metric", "value", "grade"),
    [
        ("VAE (MLP)", "mnist", "dynamic", "nll_miselbo", "84.50", "P"),
        ("VAE + VampPrior (MLP)", "mnist", "dynamic", "nll_miselbo", "82.38", "P"),
        ("HVAE + VampPrior (MLP)", "mnist", "static", "nll_miselbo", "83.19", "P"),
        ("PixelHVAE", "mnist", "dynamic", "nll_miselbo", "79.70", "P"),
        ("PixelHVAE + VampPrior", "omniglot", "dynamic", "nll_miselbo", "89.76", "P"),
        ("MLP VAE + VampPrior", "fashion_mnist", "", "nll_miselbo", "227.35", "S"),
        ("CP-VAE, 10 categories", "mnist", "dynamic", "-elbo", "84.76", "seed"),
        ("CP-VAE, 500 categories", "mnist", "dynamic", "-elbo", "88.63", "seed"),
        ("VAE + MoG prior, 150 components", "mnist", "dynamic", "-elbo", "88.96", "seed"),
        ("HVAE", "mnist", "dynamic", "-elbo", "86.7", "seed"),
        ("HVAE + VampPrior, 500 pseudo-inputs", "omniglot", "dynamic", "-elbo", "110.16", "seed"),
        ("CP-VAE, 10 categories", "mnist", "dynamic", "cluster_accuracy", "0.946", "seed"),
        ("M-VAE, 10 components", "mnist", "", "mse", "9.17", "seed"),
        ("VAE, single (M-VAE's baseline)", "mnist", "", "mse", "13.44", "seed"),
        ("M-VAE, 4 components", "mnist", "", "accuracy_knn", "0.9717", "seed"),
        ("M-VAE, 4 components", "mnist", "", "accuracy_svm_component_3", "0.8983", "seed"),
        ("VAE, single (M-VAE's baseline)", "mnist", "", "accuracy_mlp", "0.9535", "seed"),
        ("PixelCNN++", "cifar10", "none", "rmse", "3.289", "seed"),
        ("M-VAE, 4 components", "cifar10", "none", "inception_score", "5.96", "seed"),
        ("CR-NVAE", "cifar10", "none", "bpd", "2.51", "S"),
        ("Shu's GMVAE, K=10, mean of 7 runs", "mnist", "", "cluster_purity", "0.828", "P"),
        ("scVI, 558 genes, K-means 7", "cortex", "none", "asw_true", "0.281", "P"),
    ],
)
def test_numbers_as_published(system, dataset, binarisation, metric, value, grade):
    wanted = {"system": system, "dataset": dataset, "binarisation": binarisation, "metric": metric}
    found = [row for row in ROWS if wanted.items() <= row.items()]
    assert [(row["value"], row["grade"]) for row in found] == [(value, grade)]


def test_component_count_of_a_match_is_the_one_the_row_names():
    for row in ROWS:
        named = re.search(r", (\d+) (categories|components|pseudo-inputs)|, K=(\d+), ", row["system"])
        if named and row["match"]:
            key = "prior.components" if row["system"].startswith(("VAE", "HVAE")) else "K"
            assert matched(row)[key] == (named[1] or named[3]), row
