"""What was published beside ours: matching, differences and budgets, from metrics made up so that every number is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support.made_up import metrics_of, run, sources, study_of
from support.project import ROOT
from support.specs import small_spec

from mixvae.errors import UserError
from mixvae.study import catalogue
from mixvae.summary import published, rendering
from mixvae.summary.columns import flat
from mixvae.summary.results import StudyRuns
from mixvae.summary.tables.published import COLUMNS, CONTEXT_NOTE
from mixvae.summary.tables.published import TABLE as table

BUDGET = {"epochs": 24.0, "stopped_by_budget": 1.0}
EVALUATED = {"elbo": -85.0, "nll": 83.0, "nll_miselbo": 84.0}
MLP = "encoder.name=mlp;decoder.name=mlp;likelihood.name=bernoulli"
VAE = f"model=vae;K=1;prior.name=standard;flow.name=none;{MLP}"


def row(metric="nll_miselbo", value="84.50", match=VAE, dataset="mnist", system="VAE (MLP)"):
    values = (system, dataset, "dynamic", metric, value, "nats", "P", "A & B 2018, table 1", match)
    return dict(zip(published.FIELDS, values, strict=True))


def compare(found, rows, dataset="mnist", extra=()):
    frame = table.make(given(study_of([*found, *extra]), metrics_of(found), rows))
    return frame, frame.to_dict("records")


def given(study, metrics, rows):
    """Return what the table is made from."""
    return replace(sources(study, metrics), published=rows)


def pages(frame):
    """Return what is compared, and the context, as people read them."""
    return [rendering.written(grid, "{}", str) for grid in table.grids(frame)]


def test_matching_needs_every_key_as_a_number_or_a_word():
    spec = flat(run("vae", prior={"name": "vamp", "components": 500}).model_dump(mode="json"))
    yes = ["prior.components=500", "prior.name=vamp;K=1", "training.learning_rate=5e-4", "decoder.name=mlp"]
    no = ["", "prior.components=50", "prior.name=vam", "K=1;prior.name=mog", "temperature=1", "K=one", "prior.components=500x"]
    assert [published.matches(published.parse_match(text), spec) for text in yes] == [True] * len(yes)
    assert [published.matches(published.parse_match(text), spec) for text in no] == [False] * len(no)
    # a standard prior has no components at all
    assert not published.matches({"prior.components": "500"}, flat(run("vae").model_dump(mode="json")))


def test_ours_is_the_mean_over_seeds_and_the_difference_has_our_sign():
    values = {0: 85.25, 1: 84.75, 2: 86.0}
    found = {
        run("vae", seed=seed, training={"epochs": 24, "warmup": 5}): EVALUATED | BUDGET | {"nll_miselbo": value}
        for seed, value in values.items()
    }
    frame, [first, bound] = compare(found, [row(), row("-elbo", "88.75", VAE + ";latent=3", system="VAE")])
    assert first["status"] == "compared"
    assert first["ours"] == pytest.approx(np.mean(list(values.values())))
    assert (first["low"], first["high"]) == (84.75, 86.0)
    assert first["difference"] == pytest.approx(first["ours"] - 84.5)
    assert first["published"] == "84.50"
    assert bound["ours"] == pytest.approx(85)
    assert bound["difference"] == pytest.approx(85 - 88.75)
    [compared] = pages(frame)
    assert compared["our value"][0] == "85.33‡ [84.75, 86.00]"
    assert compared["difference"].tolist() == ["+0.83", "-3.75"]
    assert compared["our budget"][0] == "24 of 24 epochs ‡, 3 seeds, L = 5000"


def test_budget_tells_what_was_left_out():
    spec = run(
        "vae",
        training={"points": 1000, "samples": 2, "epochs": 30, "warmup": 0},
        evaluation={"points": 500, "samples": 100},
    )
    found = {spec: EVALUATED | {"epochs": 12.0, "stopped_by_budget": 0.0}}
    _, [only] = compare(found, [row()])
    budget = "12 of 30 epochs, 1000 of 50000 training points, IWAE bound of 2, 1 seed, L = 100, 500 of 10000 test points"
    assert only["budget"] == budget
    facts = ("epochs", "epochs_allowed", "training_points", "samples", "test_points", "seeds", "stopped_by_budget")
    assert [only[name] for name in facts] == ["12", 30, 1000, 100, 500, 1, False]
    seeds = {run("vae", seed=seed): EVALUATED | {"epochs": 310.0 + seed, "stopped_by_budget": 0.0} for seed in (0, 5)}
    _, [only] = compare(seeds, [row()], extra=[run("vae", seed=7)])
    assert only["budget"] == "310-315 of 4000 epochs, 2 of 3 seeds, L = 5000"


def test_every_cell_has_a_row_for_its_headline_metric():
    found = {
        run("vae"): EVALUATED | BUDGET,
        run("vae", K=2): EVALUATED | BUDGET,
        run("cpvae", K=10): EVALUATED | BUDGET | {"cluster_accuracy": 0.9},
        run("gmvae", K=10): EVALUATED | BUDGET | {"cluster_accuracy": 0.8},
        run("gmvae_shu", K=16): EVALUATED | BUDGET | {"cluster_purity": 0.7},
        run("mvae", K=4): BUDGET | {"mse": 12.0},
    }
    purities = [
        row("cluster_purity", value, f"model=gmvae_shu;K=16;{MLP}", system=system)
        for system, value in (("one", "0.908"), ("other", "0.783"))
    ]
    frame, rows = compare(found, [row(), *purities])
    shown = [(r["column"], r["K"], r["metric"], r["status"]) for r in rows]
    assert shown == [
        ("vae standard+none (bernoulli)", 1, "nll_miselbo", "compared"),
        ("vae standard+none (bernoulli)", 2, "nll_miselbo", "not at hand"),
        ("cpvae (bernoulli)", 10, "-elbo", "not at hand"),
        ("cpvae (bernoulli)", 10, "cluster_accuracy", "not at hand"),
        ("gmvae (bernoulli)", 10, "cluster_accuracy", "not at hand"),
        ("gmvae_shu (bernoulli)", 16, "cluster_purity", "compared"),
        ("gmvae_shu (bernoulli)", 16, "cluster_purity", "compared"),
        ("mvae (gaussian)", 4, "mse", "not at hand"),
    ]
    assert [r["difference"] for r in rows[-3:-1]] == pytest.approx([0.7 - 0.908, 0.7 - 0.783])
    assert rows[3]["ours"] == pytest.approx(0.9)
    assert pages(frame)[0]["published as"].tolist().count("not at hand") == 5


def test_headline_metrics_follow_the_data():
    kinds = {
        ("vae", "mnist", "bernoulli"): ["nll_miselbo"],
        ("hvae", "mnist", "bernoulli"): ["nll_miselbo"],
        ("vae", "cifar10", "logistics"): ["bpd"],
        ("mvae", "cifar10", "gaussian"): ["rmse", "inception_score"],
        ("vae", "mnist", "gaussian"): ["mse"],
        ("vae", "cortex", "zinb"): ["ari", "nmi", "asw_true"],
        ("vae", "toy1d", "gaussian"): ["nll_miselbo"],
    }
    for (model, dataset, likelihood), metrics in kinds.items():
        spec = run(model, dataset, likelihood={"name": likelihood})
        assert spec.judged_by(catalogue()[dataset]) == metrics
    unlabelled = catalogue()["cortex"].model_copy(update={"classes": 1})
    assert run("vae", "cortex", likelihood="zinb").judged_by(unlabelled) == ["nll_miselbo"]


def test_bits_per_dimension_are_those_of_nll_miselbo():
    spec = run("vae", "cifar10", likelihood="logistics")
    found = {spec: BUDGET | {"nll": 7000.0, "nll_miselbo": 7100.0, "bpd": 1.0, "elbo": -7200.0}}
    match = "model=vae;K=1;encoder.name=mlp;decoder.name=mlp;likelihood.name=logistics"
    _, [only] = compare(found, [row("bpd", "3.437", match, "cifar10")], "cifar10")
    assert only["ours"] == pytest.approx(7100 / (3 * 32 * 32) / np.log(2))


def test_rows_without_a_match_are_context():
    rows = [row(), row(match="", system="NVAE"), row(match=VAE.replace("K=1", "K=3"), system="other"), row(dataset="omniglot")]
    frame, records = compare({run("vae"): EVALUATED | BUDGET}, rows)
    assert [(r["system"], r["status"]) for r in records] == [
        ("VAE (MLP)", "compared"),
        ("NVAE", "context"),
        ("other", "context"),
    ]
    _, context = pages(frame)
    assert context["system"].tolist() == ["NVAE", "other"]
    arguments = "mnist: t", table.grids(frame), table.note(frame, sources(study_of([run("vae")]), None))
    page, source = rendering.markdown(*arguments), rendering.latex(*arguments)
    assert page.index("NVAE") > page.index(CONTEXT_NOTE) > page.index("our budget")
    assert r"A \& B 2018" in source
    assert f"mnist: {CONTEXT_NOTE.removesuffix(':')}" in source


def test_data_of_the_users_own_is_never_compared():
    own = {"sha256": "0" * 64, "format": "npz"}
    spec = run("vae", "mnist", data=own)
    found = metrics_of({run("vae", "mnist"): EVALUATED | BUDGET}).assign(run=spec.id)
    frame = table.make(given(study_of([spec]), found, [row(), row(match="", system="NVAE")]))
    only = frame.iloc[0]
    assert only["status"] == "not at hand"
    assert only["ours"] == pytest.approx(84)
    assert len(frame) == 1


def test_holes_scores_not_measured_and_unreliable_estimates_show():
    failed, unreliable = run("vae"), run("vae", K=2)
    found = {unreliable: EVALUATED | BUDGET | {"pareto_k_above_0.7": 0.5}}
    frame, _ = compare(found, [row(), row(match=VAE.replace("K=1", "K=2"))], extra=[failed])
    [compared] = pages(frame)
    assert compared["our value"].tolist() == ["missing", "84.00†‡"]
    assert compared["difference"].tolist() == ["", "-0.50"]
    assert compared["our budget"][0] == "not trained, 0 of 1 seed, L = 5000"
    spec = run("mvae", "cifar10", K=4)
    metrics = pd.concat(
        [
            metrics_of({spec: BUDGET | {"rmse": 3.0}}),
            metrics_of({spec: {"inception_score": np.nan}}, "not measured: no weights"),
        ]
    )
    frame = table.make(given(study_of([spec]), metrics, []))
    assert pages(frame)[0]["our value"].tolist() == ["3.0000‡", "not measured"]


def test_the_file_of_the_project_is_read_and_matches_the_papers_models():
    rows = published.read(ROOT / published.PATH)
    pixelcnn = {"encoder": "conv", "decoder": "pixelcnn", "prior": {"name": "vamp", "components": 500}}
    found = {run("vae", latent=40): EVALUATED | BUDGET, run("hvae", **pixelcnn): EVALUATED | BUDGET}
    frame, _ = compare(found, rows)
    compared = frame[frame.status == "compared"]
    values = compared.groupby("column")["published"].apply(set).to_dict()
    assert values == {"vae standard+none": {"84.50", "84.45", "88.75"}, "hvae vamp+none": {"78.45"}}
    # nothing that was published for the data set is lost or there twice
    expected = sorted(item["value"] for item in rows if item["dataset"] == "mnist")
    assert sorted(frame.published.dropna()) == expected
    assert (frame.status == "not at hand").sum() == 0


def test_numbers_are_written_and_read_again(tmp_path):
    frame, _ = compare({run("vae"): EVALUATED | BUDGET}, [row(), row(match="", system="NVAE")])
    frame.to_csv(tmp_path / "t.csv", index=False)
    again = pd.read_csv(tmp_path / "t.csv")
    assert again.loc[0, ["K", "published", "difference", "budget"]].tolist() == [1, 84.5, -0.5, frame.budget[0]]
    assert again.columns.tolist() == COLUMNS


@pytest.mark.parametrize(
    "text", ["VAE,mnist,dynamic,nll,abc,nats,P,s,model=vae", "VAE,mnist,dynamic,nll,84,nats,P,s,model", "VAE,mnist,dynamic", ""]
)
def test_a_broken_file_is_named(tmp_path, text):
    path = tmp_path / "published.csv"
    path.write_text(",".join(published.FIELDS) + f"\n{text}\n")
    if text:
        with pytest.raises(UserError, match=r"published\.csv: row 2"):
            published.read(path)
    else:
        assert published.read(path) == []
    with pytest.raises(UserError, match="restore it"):
        published.read(tmp_path / "none.csv")


def test_a_study_without_metrics_has_a_table_of_holes():
    spec = small_spec()
    study = StudyRuns("s", {spec.id: spec}, [], {"digits": catalogue()["digits"]})
    found = given(study, metrics_of({}), published.read(ROOT / published.PATH))
    frame = table.make(found)
    assert frame["budget"].tolist() == ["not trained, 0 of 1 seed, L = 50"]
    page = rendering.markdown("t", table.grids(frame), table.note(frame, found))
    assert "| missing " in page
    assert CONTEXT_NOTE not in page
