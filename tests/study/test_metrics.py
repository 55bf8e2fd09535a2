"""The registry of metrics: what is written of it, and that it needs nothing heavy."""

import re
import subprocess
import sys

import pytest
from support.project import ROOT
from support.specs import small_spec

from mixvae.study import catalogue, parse_run
from mixvae.study.metrics import METRICS, better_end, factor, made_from, markdown, metric_of, metrics_of
from mixvae.summary import cells
from mixvae.summary.tables import TABLES, comparisons, components, means, published, ranking

README = (ROOT / "results/README.md").read_text(encoding="utf-8")


def test_the_readme_has_the_table_of_all_metrics():
    assert README.endswith(f"\n{markdown()}")


def test_the_readme_explains_every_column_of_the_tables():
    text = README.partition("| column | what |")[2].partition("\n\n")[0]
    told = set(re.findall(r"`(\w+)`", text))
    for columns in (cells.COLUMNS, comparisons.COLUMNS, ranking.COLUMNS):
        assert set(columns) <= told
    budget = {"epochs", "epochs_allowed", "training_points", "samples", "test_points"}
    assert set(published.COLUMNS) - budget <= told
    assert "settings" in told
    assert "settings" in components.KEYS


def test_the_registry_needs_no_heavy_library():
    code = "import sys, mixvae.study.metrics; print(sorted({'torch', 'numpy', 'pandas'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src", capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_quantities_that_are_shown_are_made_from_metrics():
    assert made_from("-elbo bpd") == "elbo"
    assert metric_of("-elbo") is METRICS["elbo"]
    assert metric_of("accuracy_knn_component_12") is METRICS["accuracy_knn_component_k"]
    assert [better_end(name) for name in ("-elbo", "elbo", "nll_matched bpd", "jsd")] == ["min", "max", "min", None]
    assert factor("-nll", catalogue()["mnist"]) == -1
    assert 1 / factor("nll bpd", catalogue()["cifar10"]) == pytest.approx(3072 * 0.6931471805599453)
    of_an_own_model = metric_of("-spread")
    assert (of_an_own_model.name, of_an_own_model.direction) == ("spread", None)
    headlines = [name for table in TABLES.values() for name in table.headline[0]]
    for name in (*means.CODES, *means.RECONSTRUCTIONS, *means.GAP_METRICS, *components.PROBES, *headlines):
        assert metric_of(name)


def test_runs_have_the_metrics_of_their_system_and_data():
    info = catalogue()["digits"]
    vae = metrics_of(small_spec(K=3, evaluation={"samples": 50}), info)
    assert {"elbo_component_1", "elbo_component_3", "nll_matched"} <= vae["evaluate"]
    assert "elbo_component_4" not in vae["evaluate"]
    assert {"accuracy_svm", "ari", "active_units"} <= vae["latents"]
    assert {"nll_ais", "ais_gap", "amortisation_gap", "generalisation_gap"} <= vae["bracket"]
    assert "bracket" not in metrics_of(small_spec(), info)
    assert not {"mse", "dhsic", "mass", "inception_score"} & vae["evaluate"]
    mvae = metrics_of(small_spec(model="mvae", K=2, likelihood="gaussian"), info)
    assert {"dhsic_null_95", "hsic_pairs", "mse", "rmse", "elbo_component_1"} <= mvae["evaluate"]
    assert "elbo_component_2" not in mvae["evaluate"]
    assert "accuracy_mlp_component_2" in mvae["latents"]
    control = parse_run({"model": "constant", "dataset": "digits", "likelihood": "bernoulli"})
    assert metrics_of(control, info) == {"evaluate": {"elbo", "nll", "nll_miselbo"}}
    few = small_spec(K=1, evaluation={"samples": 50, "probe_points": 49})
    assert metrics_of(few, info)["latents"] == {"active_units"}
