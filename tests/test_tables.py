"""Tables from runs made up so that every number is known."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from conftest import small_spec

from mixvae import rendering, tables
from mixvae.results import COLUMNS, StudyRuns, failures, last_lines

N = 40


def make(tmp_path, specs, values, missing=()):
    """Write pointwise values of runs and return (study, metrics, missing).

    Arguments:
        values: One mean nll per spec; every other likelihood follows from it.
    """
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 5, N)
    difficulty -= difficulty.mean()
    runs, rows = {}, []
    for spec, value in zip(specs, values, strict=True):
        runs[spec.id] = spec
        if spec.id in missing:
            continue
        noise = rng.normal(0, 0.1, N)
        nll = value + difficulty + noise - noise.mean()
        pointwise = {"elbo": -(nll + 1), "nll": nll, "nll_miselbo": nll + 0.5, "nll_matched": nll + 0.25}
        (tmp_path / spec.id).mkdir()
        np.savez(tmp_path / spec.id / "pointwise.npz", **pointwise)
        metrics = {name: array.mean() for name, array in pointwise.items()}
        metrics |= {
            "pareto_k_above_0.7": 0.05,
            "pareto_k_matched_above_0.7": 0.05,
            "stopped_by_budget": 0.0,
            "ari": value / 100,
        }
        names = (spec.id, spec.dataset, spec.model, spec.K, spec.prior.name, spec.flow.name, spec.seed)
        rows += [(*names, metric, number, None, "") for metric, number in metrics.items()]
    return StudyRuns("s", runs, []), pd.DataFrame(rows, columns=COLUMNS), set(missing)


def table(tmp_path, study, metrics, missing):
    return tables.likelihood_table(study, metrics, tmp_path, missing, "digits").set_index(["metric", "K", "column"])


def specs_of(**axes):
    return [small_spec(K=K, seed=seed, **axes) for K in (1, 2) for seed in (0, 1)]


def test_cells_are_means_over_seeds_and_signs_are_right(tmp_path):
    frame = table(tmp_path, *make(tmp_path, specs_of(), [10, 12, 9, 10]))
    row = frame.loc["-elbo", 1, "standard+none"]
    assert (row["mean"], row["low"], row["high"], row["seeds"]) == pytest.approx((12, 11, 13, 2))
    assert frame.loc["nll", 2, "standard+none"]["mean"] == pytest.approx(9.5)
    assert frame.loc["nll_miselbo", 2, "standard+none"]["mean"] == pytest.approx(10)


def test_lower_is_bold_and_differences_are_against_one_component(tmp_path):
    frame = table(tmp_path, *make(tmp_path, specs_of(), [10, 12, 9, 10]))
    assert frame.loc["-elbo", 2, "standard+none"]["best"]
    assert not frame.loc["-elbo", 1, "standard+none"]["best"]
    for block in tables.COMPARABLE:
        row = frame.loc[block, 2, "standard+none"]
        assert row["delta"] == pytest.approx(-1.5)
        assert row["delta_low"] < -1.5 < row["delta_high"] < -1.4
        assert np.isnan(frame.loc[block, 1, "standard+none"]["delta"])
    # nll spends K times the samples on K components
    assert np.isnan(frame.loc["nll", 2, "standard+none"]["delta"])
    assert not frame.loc["nll"]["best"].any()


def test_differences_pair_only_the_seeds_both_have(tmp_path):
    specs = specs_of()
    frame = table(tmp_path, *make(tmp_path, specs, [10, 12, 9, 10], missing=[specs[2].id]))
    row = frame.loc["nll_matched", 2, "standard+none"]
    assert row["delta"] == pytest.approx(10 - 12)
    assert (row["seeds"], row["expected"]) == (1, 2)


def test_holes_are_marked(tmp_path):
    specs = specs_of()
    study, metrics, missing = make(tmp_path, specs, [10, 12, 9, 10], missing=[specs[2].id, specs[3].id])
    frame = tables.likelihood_table(study, metrics, tmp_path, missing, "digits")
    text = rendering.text(frame, "**{}**").set_index(["metric", "K"])["standard+none"]
    assert text["nll", 2] == "missing (0 of 2)"
    assert text["nll", 1].startswith("11.000")
    assert rendering.headline(tables.wide(frame)).count("missing") == 2
    partly = tables.likelihood_table(*make_again(tmp_path, specs), "digits")
    assert "(1 of 2)" in rendering.text(partly, "**{}**").set_index(["metric", "K"])["standard+none"]["nll", 2]


def make_again(tmp_path, specs):
    folder = tmp_path / "again"
    folder.mkdir()
    study, metrics, missing = make(folder, specs, [10, 12, 9, 10], missing=[specs[2].id])
    return study, metrics, folder, missing


def test_unreliable_and_unconverged_cells_are_marked_and_never_bold(tmp_path):
    study, metrics, missing = make(tmp_path, specs_of(), [10, 12, 9, 10])
    second = metrics.K == 2
    metrics.loc[second & (metrics.metric == "pareto_k_matched_above_0.7"), "value"] = 0.3
    metrics.loc[second & (metrics.seed == 1) & (metrics.metric == "stopped_by_budget"), "value"] = 1.0
    frame = tables.likelihood_table(study, metrics, tmp_path, missing, "digits")
    rows = frame.set_index(["metric", "K"])
    assert rows.loc["nll_matched", 2]["unreliable"]
    assert not rows.loc["nll_matched", 2]["best"]
    assert not rows.loc["nll_miselbo", 2]["unreliable"]  # rests on other weights
    text = rendering.text(frame, "**{}**").set_index(["metric", "K"])["standard+none"]
    assert text["nll_matched", 2].startswith("9.750†‡ [")
    assert text["-elbo", 2].startswith("**10.500**‡ [")
    assert "†" not in text["-elbo", 2] + text["nll_matched", 1]
    assert "9.750†‡ (-1.500)" in rendering.headline(tables.wide(frame))


def test_runs_that_differ_in_a_hyperparameter_never_share_a_cell(tmp_path):
    specs = [*specs_of(), *specs_of(latent=5)]
    frame = table(tmp_path, *make(tmp_path, specs, [10, 12, 9, 10, 110, 112, 109, 110]))
    assert frame.loc["nll", 1, "standard+none (latent=3)"]["mean"] == pytest.approx(11)
    assert frame.loc["nll", 1, "standard+none (latent=5)"]["mean"] == pytest.approx(111)
    assert (frame["seeds"] == 2).all()


def test_latent_table_prefers_high_scores(tmp_path):
    study, metrics, _ = make(tmp_path, specs_of(), [10, 12, 9, 10])
    frame = tables.latent_table(study, metrics, "digits").set_index(["metric", "K"])
    assert frame.loc["ari", 1]["best"]
    assert not frame.loc["ari", 2]["best"]


def test_latex_escapes_what_it_must(tmp_path):
    frame = tables.likelihood_table(*make_again(tmp_path, specs_of(latent=5)), "digits")
    text = rendering.latex(frame, "digits: 100 % & more")
    assert r"nll\_matched" in text
    assert r"\$" not in text
    assert r"100 \% \& more" in text


def test_failures_name_the_first_missing_rule_and_the_end_of_its_log(tmp_path):
    spec = small_spec()
    study = StudyRuns("s", {spec.id: spec}, [])
    assert failures(study, tmp_path).to_dict("records") == [
        {"run": spec.id, "rule": "train", "log": "no log: the rule was not started"}
    ]
    folder = tmp_path / spec.id
    (folder / "provenance").mkdir(parents=True)
    (folder / "logs").mkdir()
    for name in ("model.safetensors", "training.json", "provenance/train.json"):
        (folder / name).write_text(json.dumps({}))
    (folder / "logs/evaluate.log").write_text("\n".join(map(str, range(20))) + "\nerror: boom\n")
    [row] = failures(study, tmp_path).to_dict("records")
    assert row["rule"] == "evaluate"
    assert row["log"].splitlines() == ["16", "17", "18", "19", "error: boom"]
    (folder / "logs/evaluate.log").write_text("")
    assert last_lines(folder / "logs/evaluate.log") == "the log is empty: the process was killed"
