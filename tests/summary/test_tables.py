"""Tables from runs made up so that every number is known."""

import itertools
import json
import shutil
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from support.made_up import N, evaluated_on, make, metrics_of, run, sources, study_of
from support.project import run_script
from support.specs import small_spec

from mixvae.errors import UserError
from mixvae.files import sha256
from mixvae.study import catalogue, outputs, parse_run
from mixvae.study.jobs import RUN_FILES, folder_of, record_of, rules_of, run_file
from mixvae.study.metrics import made_from
from mixvae.summary import rendering
from mixvae.summary.cells import COMPARABLE
from mixvae.summary.columns import column_names
from mixvae.summary.holes import failures
from mixvae.summary.results import COLUMNS as METRICS
from mixvae.summary.results import tidy
from mixvae.summary.tables import TABLES
from mixvae.summary.tables.comparisons import probability

ablation, comparisons, ranking, latent, reconstruction, gaps, _, components, density, _ = TABLES.values()
PLAIN = tuple(name for name in COMPARABLE if name != "nll_ais")


def made(table, given):
    """Return the rows of a table, and its page as text: (table's rows, page)."""
    frame = table.make(given)
    return frame, rendering.markdown("t", table.grids(frame), table.note(frame, given))


def text(table, frame, bold="**{}**"):
    """Return a table as people read it."""
    return rendering.written(table.grids(frame)[0], bold, str)


def by_row(table, frame, bold="**{}**"):
    """The same with metric and K, a number, as its index."""
    shown = text(table, frame, bold)
    return shown.assign(K=[int(K) if K else "" for K in shown.K]).set_index(["metric", "K"])


def headline(table, frame):
    return rendering.headline(frame, table.headline[0])


def table(given):
    return ablation.make(given).set_index(["metric", "K", "column"])


def specs_of(**axes):
    return [small_spec(K=K, seed=seed, **axes) for K in (1, 2) for seed in (0, 1)]


def keep_points(given, spec, count):
    """Leave the first test points alone in what a run was evaluated on."""
    path = run_file("pointwise.npz", spec, given.runs / spec.id)
    with np.load(path) as file:
        short = {name: array[:count] for name, array in file.items()}
    np.savez(path, **short)


def with_a_hole(tmp_path, specs):
    return make(tmp_path / "again", specs, [10, 12, 9, 10], missing=[specs[2].id])


def test_cells_are_means_over_seeds_and_signs_are_right(tmp_path):
    frame = table(make(tmp_path, specs_of(), [10, 12, 9, 10]))
    row = frame.loc["-elbo", 1, "standard+none"]
    assert (row["mean"], row["low"], row["high"], row["seeds"]) == pytest.approx((12, 11, 13, 2))
    assert frame.loc["nll", 2, "standard+none"]["mean"] == pytest.approx(9.5)
    assert frame.loc["nll_miselbo", 2, "standard+none"]["mean"] == pytest.approx(10)


def test_lower_is_bold_and_differences_are_against_one_component(tmp_path):
    frame = table(make(tmp_path, specs_of(), [10, 12, 9, 10]))
    assert frame.loc["-elbo", 2, "standard+none"]["best"]
    assert not frame.loc["-elbo", 1, "standard+none"]["best"]
    for block in PLAIN:
        row = frame.loc[block, 2, "standard+none"]
        assert row["delta"] == pytest.approx(-1.5)
        assert row["delta_low"] < -1.5 < row["delta_high"] < -1.4
        assert np.isnan(frame.loc[block, 1, "standard+none"]["delta"])
    # nll spends K times the samples on K components
    assert np.isnan(frame.loc["nll", 2, "standard+none"]["delta"])
    assert not frame.loc["nll"]["best"].any()


def test_differences_pair_only_the_seeds_both_have(tmp_path):
    specs = specs_of()
    frame = table(make(tmp_path, specs, [10, 12, 9, 10], missing=[specs[2].id]))
    row = frame.loc["nll_matched", 2, "standard+none"]
    assert row["delta"] == pytest.approx(10 - 12)
    assert (row["seeds"], row["expected"]) == (1, 2)


def test_holes_are_marked(tmp_path):
    specs = specs_of()
    given = make(tmp_path, specs, [10, 12, 9, 10], missing=[specs[2].id, specs[3].id])
    frame = ablation.make(given)
    shown = by_row(ablation, frame)["standard+none"]
    assert shown["nll", 2] == "missing (0 of 2)"
    assert shown["nll", 1].startswith("11.000")
    assert headline(ablation, frame).count("missing") == 2
    partly = ablation.make(with_a_hole(tmp_path, specs))
    assert "(1 of 2)" in by_row(ablation, partly)["standard+none"]["nll", 2]


def test_unreliable_and_unconverged_cells_are_marked_and_never_bold(tmp_path):
    given = make(tmp_path, specs_of(), [10, 12, 9, 10])
    second = given.metrics.K == 2
    given.metrics.loc[second & (given.metrics.metric == "pareto_k_matched_above_0.7"), "value"] = 0.3
    given.metrics.loc[second & (given.metrics.seed == 1) & (given.metrics.metric == "stopped_by_budget"), "value"] = 1.0
    frame = ablation.make(given)
    rows = frame.set_index(["metric", "K"])
    assert rows.loc["nll_matched", 2]["unreliable"]
    assert not rows.loc["nll_matched", 2]["best"]
    assert not rows.loc["nll_miselbo", 2]["unreliable"]  # rests on other weights
    shown = by_row(ablation, frame)["standard+none"]
    assert shown["nll_matched", 2].startswith("9.750†‡ [")
    assert shown["-elbo", 2].startswith("**10.500**‡ [")
    assert "†" not in shown["-elbo", 2] + shown["nll_matched", 1]
    assert "9.750†‡ (-1.500)" in headline(ablation, frame)


def test_runs_that_differ_in_a_hyperparameter_never_share_a_cell(tmp_path):
    specs = [*specs_of(), *specs_of(latent=5)]
    frame = table(make(tmp_path, specs, [10, 12, 9, 10, 110, 112, 109, 110]))
    assert frame.loc["nll", 1, "standard+none (latent=3)"]["mean"] == pytest.approx(11)
    assert frame.loc["nll", 1, "standard+none (latent=5)"]["mean"] == pytest.approx(111)
    assert (frame["seeds"] == 2).all()


def names_of(specs):
    names = column_names(study_of(specs), specs[0].dataset)
    return [names[spec.id] for spec in specs]


def test_columns_name_the_model_where_there_are_several():
    vae, hvae = run("vae"), run("hvae", prior="vamp", flow={"name": "iaf", "hidden": [8]})
    assert names_of([vae, run("vae", K=2), run("vae", seed=1)]) == ["standard+none"] * 3
    assert names_of([vae, hvae, run("cpvae", K=10), run("cpvae", K=150)]) == [
        "vae standard+none",
        "hvae vamp+iaf",
        "cpvae",
        "cpvae",
    ]


def test_priors_of_different_sizes_are_told_apart_within_their_kind_only():
    priors = [
        "standard",
        {"name": "mog", "components": 10},
        {"name": "mog", "components": 150},
        {"name": "vamp", "components": 10},
    ]
    assert names_of([run("vae", prior=prior) for prior in priors]) == [
        "standard+none",
        "mog(10)+none",
        "mog(150)+none",
        "vamp+none",
    ]


def test_networks_are_named_without_their_layers():
    pixelcnn = {"encoder": "conv", "decoder": "pixelcnn"}
    names = names_of([run("vae"), run("vae", **pixelcnn), run("vae", flow="coupling"), run("hvae", **pixelcnn)])
    # all columns of a model say what they have, or none does
    expected = ["vae standard+none (mlp/mlp)", "vae standard+none (conv/pixelcnn)", "vae standard+coupling (mlp/mlp)"]
    assert names == [*expected, "hvae standard+none"]
    layers = [[[8, 3, 2], [8, 3, 2]], [[8, 3, 2], [16, 3, 2]], [[8, 5, 2], [8, 3, 2]]]
    names = names_of([run("vae", encoder={"name": "conv", "layers": sizes}, decoder="pixelcnn") for sizes in layers[:2]])
    assert names == ["standard+none (encoder layers=2x8)", "standard+none (encoder layers=8-16)"]
    # shorter is not clear enough
    names = names_of([run("vae", encoder={"name": "conv", "layers": sizes}, decoder="pixelcnn") for sizes in layers])
    assert names[2] == "standard+none (encoder layers=[[8,5,2],[8,3,2]])"


def test_big_networks_with_more_samples_are_named_by_both():
    sizes = [([300, 300], 1), ([509, 509], 2), ([300] * 5, 2)]
    specs = [run("vae", encoder={"hidden": hidden}, training={"samples": L}) for hidden, L in sizes]
    assert names_of(specs) == [
        "standard+none (encoder 2x300, L=1)",
        "standard+none (encoder 2x509, IWAE L=2)",
        "standard+none (encoder 5x300, IWAE L=2)",
    ]
    both = [run("vae", encoder={"hidden": [n]}, decoder={"hidden": [n]}) for n in (300, 509)]
    assert names_of(both) == ["standard+none (hidden 300)", "standard+none (hidden 509)"]


def test_how_runs_were_trained_is_named_only_where_nothing_else_differs():
    longer = {"epochs": 1000, "patience": 50, "warmup": 10}
    specs = [run("vae"), run("vae", training=longer, evaluation={"samples": 50})]
    assert names_of(specs) == ["standard+none (epochs=4000)", "standard+none (epochs=1000)"]
    assert names_of([specs[0], run("vae", latent=4, training=longer)]) == [
        "standard+none (latent=3)",
        "standard+none (latent=4)",
    ]
    points = [run("vae"), run("vae", training={"points": 100}), run("vae", seed=1, evaluation={"points": 100})]
    assert len(set(names_of(points))) == 3


def test_no_two_settings_share_a_name():
    axes = {
        "latent": [2, 3],
        "likelihood": [{"name": "gaussian", "std": 0.1}, {"name": "gaussian", "std": 0.10000001}],
        "encoder": [{"hidden": [8, 8]}, {"hidden": [8]}, "conv"],
        "training": [{}, {"samples": 2}, {"points": 10}, {"flip": True}],
        "flow": ["none", "iaf", {"name": "iaf", "order": "alternating"}],
        "threads": [1, 2],
        "prior": ["standard", {"name": "mog", "components": 3}, {"name": "mog", "components": 4}],
    }
    specs = [
        run("vae", K=K, seed=seed, **dict(zip(axes, values, strict=True)))
        for values in itertools.product(*axes.values())
        for K, seed in ((1, 0), (2, 1))
    ]
    columns = {}
    for spec, name in zip(specs, names_of(specs), strict=True):
        columns.setdefault(name, set()).add(spec.model_copy(update={"K": 1, "seed": 0}).canonical())
    assert len(columns) == len(specs) // 2
    assert all(len(settings) == 1 for settings in columns.values())


def test_every_column_has_the_control_of_its_likelihood(tmp_path):
    specs = [small_spec("pbmc68k_reduced", K=1, likelihood=name) for name in ("zinb", "nb")]
    gaussian, bernoulli = run("mvae", "digits"), small_spec(K=1)
    for dataset, members, controls in (
        ("pbmc68k_reduced", specs, {"nb": 500.0}),
        ("digits", [gaussian, bernoulli], {"gaussian": -30.0, "bernoulli": 27.0}),
    ):
        given = make(tmp_path, members, [1] * len(members))
        constants = [parse_run({"model": "constant", "dataset": dataset, "likelihood": name}) for name in controls]
        found = dict(zip(constants, ({"nll": value} for value in controls.values()), strict=True))
        study = study_of([*members, *constants])
        frame = ablation.make(replace(given, study=study, metrics=pd.concat([given.metrics, metrics_of(found)])))
        [row] = text(ablation, frame).set_index("metric").loc[["control"]].to_dict("records")
        names = column_names(study, dataset)
        shown = [float(row[names[spec.id]]) for spec in members]
        assert shown == ([500, 500] if dataset == "pbmc68k_reduced" else [-30, 27])
        # a control that failed is a hole
        frame = ablation.make(replace(given, study=study))
        assert set(text(ablation, frame).set_index("metric").loc["control"].drop("K")) == {"missing"}


def test_colours_are_also_in_bits_per_dimension_when_levels_are_counted(tmp_path):
    logistics = [run("vae", "cifar10", K=K, likelihood="logistics") for K in (1, 2)]
    given = make(tmp_path, [*logistics, run("mvae", "cifar10")], [7000, 6900, 10])
    frame = table(given)
    bits = 3072 * np.log(2)
    for block, nats in {"-elbo bpd": 6901, "nll_miselbo bpd": 6900.5, "nll_matched bpd": 6900.25}.items():
        row = frame.loc[block, 2, "vae standard+none (logistics)"]
        assert row["mean"] == pytest.approx(nats / bits)
        assert row["delta"] == pytest.approx(-100 / bits)
        assert row["delta_low"] < row["delta"] < row["delta_high"]
        assert row["best"]
        # a Gaussian's density counts no levels
        assert (block, 1, "mvae (gaussian)") not in frame.index
    assert frame.loc["-elbo", 1, "mvae (gaussian)"]["mean"] == pytest.approx(11)
    given.metrics.loc[(given.metrics.K == 2) & (given.metrics.metric == "pareto_k_above_0.7"), "value"] = 0.5
    plain, page = made(ablation, replace(given))
    assert set(plain.metric[plain.unreliable]) == {"nll", "nll_miselbo", "nll_miselbo bpd"}
    assert "nats / (D log 2)" in page
    assert "nll_miselbo bpd" in headline(ablation, plain)


def test_runs_evaluated_on_different_numbers_of_points_are_not_paired(tmp_path):
    specs = [small_spec(K=K) for K in (1, 2)]
    given = make(tmp_path, specs, [10, 9])
    assert not table(given)["delta"].isna().all()
    keep_points(given, specs[1], 30)
    assert table(replace(given))["delta"].isna().all()


def test_points_of_other_data_are_not_paired(tmp_path):
    specs = [small_spec(K=K) for K in (1, 2)]
    given = make(tmp_path, specs, [10, 9])
    evaluated_on(specs[1], tmp_path / specs[1].id, "another")
    assert table(given)["delta"].isna().all()
    frame, page = made(comparisons, given)
    assert frame.empty
    assert "have seen other test points: standard+none, K = 2 against 1." in page
    ranked, page = made(ranking, given)
    assert len(ranked) == 3
    assert "\n- Not ranked, since evaluated on other test points than the rest: standard+none, K = 2.\n" in page
    assert page.count("Not ranked") == 1


ORIGIN = "group,made_from,factor,runs,compared"
COMPARISONS = (
    "metric,column,K,against,step,measure,delta,low,high,p,p_adjusted,points,seeds,seed_low,seed_high,seed_kind,unreliable,"
    f"stopped_by_budget,{ORIGIN}"
)
RANKING = (
    "metric,measure,rank,K,column,mean,rank_low,rank_high,probability_best,seed_rank_low,seed_rank_high,seeds,points,unreliable,"
    f"stopped_by_budget,{ORIGIN}"
)


def test_comparisons_are_paired_and_adjusted_as_one_family(tmp_path):
    specs = [small_spec(K=K, seed=seed, latent=latent) for latent in (3, 5) for K in (1, 2, 4) for seed in (0, 1)]
    given = make(tmp_path, specs, [10, 12, 9, 10, 10.001, 12, 20, 20, 20, 20.02, 25, 26])
    given.metrics.loc[(given.metrics.run == specs[0].id) & (given.metrics.metric == "pareto_k_matched_above_0.7"), "value"] = (
        0.5
    )
    given.metrics.loc[(given.metrics.run == specs[-1].id) & (given.metrics.metric == "stopped_by_budget"), "value"] = 1.0
    frame = comparisons.make(given)
    assert frame.to_csv(index=False).splitlines()[0] == COMPARISONS
    assert list(frame.step) == [True, False, True] * 6
    columns = ["standard+none (latent=3)", "standard+none (latent=5)"]
    assert list(zip(frame.metric, frame.column, zip(frame.K, frame.against, strict=True), strict=True)) == list(
        itertools.product(PLAIN, columns, ((2, 1), (4, 1), (4, 2)))
    )
    rows = frame.set_index(["metric", "column", "K", "against"])
    found = rows.loc["-elbo", columns[0], 2, 1]
    assert (found.delta, found.seed_low, found.seed_high, found.seed_kind) == pytest.approx((-1.5, -2, -1, "min-max"))
    assert (found.points, found.seeds) == (N, 2)
    # 10.001 and 12 against 9 and 10
    found = rows.loc["-elbo", columns[0], 4, 2]
    assert (found.delta, found.seed_low, found.seed_high) == pytest.approx((1.5005, 1.001, 2))

    def side(K):
        files = [run_file("pointwise.npz", spec, tmp_path / spec.id) for spec in specs if spec.latent == 3 and spec.K == K]
        return np.mean([-np.load(file)["elbo"] for file in files], axis=0)

    for against in (1, 2):
        test = stats.ttest_rel(side(4), side(against))
        found = rows.loc["-elbo", columns[0], 4, against]
        assert found.p == pytest.approx(test.pvalue)
        assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
    # all eighteen p-values together, by Holm's definition
    order = np.argsort(frame.p)
    expected = np.minimum(1, np.maximum.accumulate(frame.p.to_numpy()[order] * np.arange(18, 0, -1)))
    np.testing.assert_allclose(frame.p_adjusted.to_numpy()[order], expected)
    assert (frame.p < frame.p_adjusted).any()
    # either side's: heavy tails with K = 1, in what rests on these weights; training to the last epoch with K = 4
    unreliable = rows.index[rows.unreliable]
    assert list(unreliable) == [("nll_matched", columns[0], K, 1) for K in (2, 4)]
    stopped = {(block, columns[1], 4, against) for block in PLAIN for against in (1, 2)}
    assert set(rows.index[rows.stopped_by_budget]) == stopped
    # the table of likelihoods says the same of K = 1, and of no other
    rows = rows.xs(1, level="against")
    likelihoods = ablation.make(given).set_index(["metric", "column", "K"])
    for ours, theirs in (("delta", "delta"), ("low", "delta_low"), ("high", "delta_high")):
        np.testing.assert_array_equal(rows[ours], likelihoods.loc[rows.index, theirs])
    assert likelihoods.delta.notna().sum() == len(rows)
    assert likelihoods.index.is_unique


def test_comparisons_are_written_with_what_they_do_not_say(tmp_path):
    given = make(tmp_path, specs_of(), [10, 12, 9, 10])
    frame, page = made(comparisons, given)
    line = text(comparisons, frame).iloc[0]
    assert (line["K"], line["against"]) == ("2", "1")
    assert (line["Δ"], line["p"], line["over seeds"]) == ("-1.500", "p < 0.001", "[-2.000, -1.000]")
    assert line["95 % over points"] == f"[{frame.low[0]:+.3f}, {frame.high[0]:+.3f}]"
    source = latex(comparisons, frame, given)
    for words in (
        "Holm for the 3 comparisons",
        "what training again would give",
        "At most 2 seeds",
        "95 % over points: t-interval",
    ):
        assert words in page
        assert words in source
    assert "p $<$ 0.001" in source
    single = make(tmp_path / "single", [small_spec(K=K) for K in (1, 2)], [10, 9])
    frame, page = made(comparisons, single)
    assert frame[["seed_low", "seed_high", "seed_kind"]].isna().all(axis=None)
    assert list(text(comparisons, frame)["over seeds"]) == [""] * 3
    assert "One seed tells next to nothing about that." in page
    assert [probability(p) for p in (0.00099, 0.0123, 1.0, np.nan)] == ["p < 0.001", "p = 0.012", "p = 1.000", ""]


@pytest.mark.parametrize(
    ("specs", "gone", "reason"),
    [
        ([small_spec(K=1)], [], "Every run has K = 1, so there is nothing to compare."),
        ([run("cpvae", "digits", K=10)], [], "No other K of the same column to compare with: cpvae, K = 10."),
        ([small_spec(K=K) for K in (1, 2)], [0], "Not compared, since runs are missing"),
        ([small_spec(K=K) for K in (1, 2)], [0, 1], "Not compared, since runs are missing"),
    ],
)
def test_without_a_comparison_the_table_has_its_header_and_the_reason(tmp_path, specs, gone, reason):
    given = make(tmp_path / "runs", specs, [10] * len(specs), [specs[number].id for number in gone])
    frame, page = made(comparisons, given)
    assert frame.to_csv(index=False) == COMPARISONS + "\n"
    assert reason in page
    assert page.splitlines()[2].startswith("| metric")
    assert r"\bottomrule" in latex(comparisons, frame, given)


def test_every_column_is_compared_by_the_k_that_it_has(tmp_path):
    """K = 1, 2, 4; 1 and 4 alone; none of 1; and K = 2 planned between 1 and 4, but lost."""
    Ks = {"latent=3": (1, 2, 4), "latent=4": (1, 4), "latent=5": (4, 2, 8), "latent=6": (1, 2, 4), "latent=7": (8,)}
    specs = [small_spec(K=K, latent=int(name[-1])) for name, those in Ks.items() for K in those]
    given = make(tmp_path / "runs", specs, [10.0 + spec.K for spec in specs], [specs[9].id])
    frame, page = made(comparisons, given)
    block = frame[frame.metric == "nll_matched"]
    found = {name: [] for name in Ks}
    for row in block.itertuples():
        assert row.delta == pytest.approx(row.K - row.against)
        found[row.column.removeprefix("standard+none (").removesuffix(")")].append((row.K, row.against))
    assert found == {
        "latent=3": [(2, 1), (4, 1), (4, 2)],
        "latent=4": [(4, 1)],
        "latent=5": [(4, 2), (8, 4)],
        # 4 against the lost 2 is no matter of 4 against 1
        "latent=6": [(4, 1)],
        "latent=7": [],
    }
    assert "- No other K of the same column to compare with: standard+none (latent=7), K = 8.\n" in page
    assert "- No K = 1, so that every K is compared with the next smaller one alone: standard+none (latent=5).\n" in page
    lost = "standard+none (latent=6), K = 2 against 1; standard+none (latent=6), K = 4 against 2."
    assert f"- Not compared, since runs are missing (failures.csv) or have seen other test points: {lost}\n" in page


def test_figures_of_comparisons_and_ranks_are_known_from_the_runs_alone(tmp_path):
    cases = {
        "pair": [small_spec(K=K) for K in (1, 2)],
        "one": [small_spec(K=1)],
        "apart": [small_spec(K=1), small_spec(K=2, latent=5)],
        "twice": [small_spec(K=1, seed=seed) for seed in (0, 1)],
        "categories": [run("cpvae", "digits", K=K) for K in (10, 16)],
        "mvae": [run("mvae", "digits", K=K) for K in (1, 4)],
    }
    for name, specs in cases.items():
        given = make(tmp_path / name, specs, [10] * len(specs))
        names = outputs.figures(specs, given.study.datasets)
        assert ("comparisons_digits" in names) == (len(comparisons.make(given)) > 0), name
        cells = ranking.make(given)[["K", "column"]].drop_duplicates()
        assert ("ranking_digits" in names) == (len(cells) > 1), name
        assert {"comparisons_digits", "ranking_digits"} <= set(outputs.tables(specs, given.study.datasets))


def test_ranking_says_who_is_best_and_how_sure_that_is(tmp_path):
    specs = [small_spec(K=K, seed=seed) for K in (1, 2, 4, 5) for seed in (0, 1)]
    # K = 2 and 4 change places from seed to seed, and are close together in the mean
    given = make(tmp_path / "runs", specs, [30, 31, 10, 14, 14, 10.001, 20, 20])
    frame, page = made(ranking, given)
    assert frame.to_csv(index=False).splitlines()[0] == RANKING
    block = frame[frame.metric == "nll_matched"]
    assert list(block["rank"]) == [1, 2, 3, 4]
    assert list(block.K) == [2, 4, 5, 1]
    assert list(block["mean"]) == pytest.approx([12.25, 12.2505, 20.25, 30.75])
    assert list(block.rank_low) == [1, 1, 3, 4]
    assert list(block.rank_high) == [2, 2, 3, 4]
    assert list(block.seed_rank_low) == [1, 1, 3, 4]
    assert list(block.seed_rank_high) == [2, 2, 3, 4]
    assert block.probability_best.sum() == pytest.approx(1)
    assert block.probability_best.iloc[2] == 0
    assert set(block.seeds) == {2}
    assert set(block.points) == {N}
    line = text(ranking, frame).iloc[0]
    assert (line["95 % over points"], line["over seeds"]) == ("1 to 2", "1 to 2")
    assert "if everything were trained again" in page
    assert frame.equals(ranking.make(given))


def test_ranking_leaves_out_what_does_not_compare_and_says_so(tmp_path):
    specs = [small_spec(K=K, seed=seed) for K in (1, 2, 4) for seed in (0, 1)]
    specs += [small_spec(K=K, latent=5) for K in (1, 2)] + [run("mvae", "digits", K=K) for K in (1, 2)]
    gone = [specs[1].id, specs[2].id, specs[3].id]
    given = make(tmp_path / "runs", specs, [30, 31, 10, 14, 14, 10, 20, 15, -500, -400], gone)
    keep_points(given, specs[7], 30)
    frame, page = made(ranking, given)
    block = frame[frame.metric == "-elbo"]
    latent3, latent5, mvae = (
        "vae standard+none (bernoulli, latent=3)",
        "vae standard+none (bernoulli, latent=5)",
        "mvae (gaussian)",
    )
    assert list(zip(block.column, block.K, block["rank"], strict=True)) == [
        (latent3, 4, 1),
        (latent5, 1, 2),
        (latent3, 1, 3),
        # a density of real numbers has no place among probabilities of pixels
        (mvae, 1, 1),
        (mvae, 2, 2),
    ]
    assert list(block.seeds) == [2, 1, 1, 1, 1]
    # one seed is all that those of pixels have in common
    assert block.seed_rank_low.isna().all()
    assert "Likelihoods of binary pixels and of real numbers do not compare: each has its own ranks." in page
    assert f"Not ranked, since runs are missing, see failures.csv: {latent3}, K = 2." in page
    assert f"Not ranked, since evaluated on other test points than the rest: {latent5}, K = 2." in page
    assert f"Ranked by fewer seeds than the rest: {latent3}, K = 1; " in page
    assert "real numbers" in text(ranking, frame)["of"].tolist()


def test_one_test_point_has_a_difference_and_a_rank_without_intervals(tmp_path):
    specs = [small_spec(K=K) for K in (1, 2)]
    given = make(tmp_path / "runs", specs, [10, 9])
    for spec in specs:
        keep_points(given, spec, 1)
    frame, page = made(comparisons, given)
    assert frame.delta.notna().all()
    assert frame[["low", "high", "p", "p_adjusted"]].isna().all(axis=None)
    assert "Holm for the 0 comparisons" in page
    ranked, other = made(ranking, given)
    assert set(ranked["rank"]) == {1, 2}
    assert ranked[["rank_low", "rank_high", "probability_best"]].isna().all(axis=None)
    likelihoods, third = made(ablation, given)
    for words in (page, other, third):
        assert "nan" not in words.lower()
    assert "Δ" in text(ablation, likelihoods)["standard+none"].iloc[1]


def test_equal_cells_share_a_rank(tmp_path):
    specs = [small_spec(K=K) for K in (1, 2, 4)]
    given = make(tmp_path / "runs", specs, [10, 10, 30])
    one, other = (run_file("pointwise.npz", spec, given.runs / spec.id) for spec in specs[:2])
    other.write_bytes(one.read_bytes())
    block = ranking.make(given).iloc[:3]
    assert list(block["rank"]) == list(block.rank_low) == [1, 1, 3]
    assert list(block.rank_high) == [2, 2, 3]
    assert list(block.probability_best) == [0.5, 0.5, 0]
    found = comparisons.make(given).iloc[0]
    assert (found.delta, found.low, found.high, found.p, found.p_adjusted) == (0, 0, 0, 1, 1)


def test_latent_blocks_are_those_that_a_data_set_and_its_models_have():
    vae, clustering = run("vae", K=2), run("cpvae", K=10)
    found = {
        vae: {"active_units": 3, "jsd": 0.5, "ari": 0.2},
        clustering: {"active_units": 4, "jsd": 0, "cluster_accuracy": 0.9},
    }
    study = study_of(found)
    frame = latent.make(sources(study, metrics_of(found))).set_index(["metric", "column"])
    assert list(frame.index) == [
        ("cluster_accuracy", "cpvae"),
        ("ari", "vae standard+none"),
        ("ari", "cpvae"),
        ("jsd", "vae standard+none"),
        ("active_units", "vae standard+none"),
        ("active_units", "cpvae"),
    ]
    assert frame.loc["ari", "cpvae"]["unmeasured"] == "undefined"
    unlabelled = study._replace(datasets={"mnist": catalogue()["mnist"].model_copy(update={"classes": 1})})
    frame = latent.make(sources(unlabelled, metrics_of(found)))
    assert list(frame.metric.unique()) == ["jsd", "active_units"]
    # nothing is there: holes, not an empty table
    shown = by_row(latent, latent.make(sources(study, metrics_of({}))))
    assert shown.loc[("cluster_accuracy", 10), "cpvae"] == "missing (0 of 1)"


def reconstructions():
    single, mixture = (run("mvae", "cifar10", K=K) for K in (1, 4))
    found = metrics_of({single: {"mse": 120.0, "rmse": 11.0}, mixture: {"mse": 100.0, "rmse": 10.0, "dhsic": 0.01561}})
    null = metrics_of({mixture: {"dhsic_null_median": 0.01558, "dhsic_null_95": 0.0161}})
    scores = metrics_of({key: {"inception_score": np.nan} for key in (single, mixture)}, unit="not measured: no weights")
    other = run("vae", "cifar10", likelihood="logistics")
    return sources(study_of([single, mixture, other]), pd.concat([found, null, scores]))


def test_a_score_that_could_not_be_measured_says_so_and_why():
    frame, page = made(reconstruction, reconstructions())
    shown = by_row(reconstruction, frame)
    assert list(shown.columns) == ["mvae (gaussian)"]
    assert (
        shown.loc[("inception_score", 1), "mvae (gaussian)"]
        == shown.loc[("inception_score", 4), "mvae (gaussian)"]
        == "not measured"
    )
    assert shown.loc[("mse", 4), "mvae (gaussian)"] == "**100.000**"
    assert '"not measured": no weights.' in page
    cells = frame.set_index(["metric", "K"])
    assert cells.loc[("inception_score", 1), "unmeasured"] == "not measured: no weights"
    assert np.isnan(cells.loc[("inception_score", 1), "mean"])
    assert headline(reconstruction, frame).split()[-3:] == ["mse", "4", "100.000"]


def test_dependence_stands_beside_its_null_with_enough_digits():
    shown = text(reconstruction, reconstruction.make(reconstructions()))
    rows = shown[shown.metric.str.startswith("dhsic")]
    assert rows.values.tolist() == [
        ["dhsic", "4", "0.01561"],
        ["dhsic_null_median", "4", "0.01558"],
        ["dhsic_null_95", "4", "0.01610"],
    ]


def test_components_stand_beside_the_mixture_and_the_single_vae():
    specs = {size: [run("mvae", K=K, latent=size, seed=seed) for K in (1, 3) for seed in (0, 1)] for size in (2, 3)}
    found = {}
    for size, members in specs.items():
        for spec in members:
            value = size / 10 + spec.seed / 100
            found[spec] = {"accuracy_svm": value + (0.5 if spec.K == 3 else 0)}
            if spec.K == 3:
                found[spec] |= {f"accuracy_svm_component_{k}": value + k / 20 for k in (1, 2, 3)}
    frame = components.make(sources(study_of(found), metrics_of(found)))
    values = frame.set_index(["settings", "metric", "K", "column"])["mean"]
    assert values["mvae (latent=2)", "accuracy_svm", 3, "mixture"] == pytest.approx(0.705)
    assert values["mvae (latent=2)", "accuracy_svm", 3, "single VAE"] == pytest.approx(0.205)
    assert values["mvae (latent=3)", "accuracy_svm", 3, "C2"] == pytest.approx(0.405)
    shown = text(components, frame)
    assert list(shown.columns) == ["settings", "metric", "K", "mixture", "C1", "C2", "C3", "single VAE"]
    row = shown[shown.metric == "accuracy_svm"].iloc[0]
    assert row["mixture"] == "**0.705** [0.700, 0.710]"
    assert "**" not in row["C3"]
    single = frame[frame.column == "single VAE"]
    # of which run a cell is does not follow from the K of its row
    assert single.runs.str.contains("-mvae-K1-").all()
    assert set(single.K) == {3}
    some = {spec: values for spec, values in found.items() if spec.latent == 2}
    one = components.make(sources(study_of(some), metrics_of(some)))
    assert list(text(components, one).columns) == ["metric", "K", "mixture", "C1", "C2", "C3", "single VAE"]


def test_density_table_has_the_kl_on_the_grid_beside_its_estimate():
    specs = [parse_run({"model": "toy", "dataset": "ring", "K": K}) for K in (1, 4)]
    iaf = parse_run({"model": "toy", "dataset": "ring", "K": 1, "flow": "iaf"})
    found = {spec: {"kl": 1 / spec.K, "elbo": -1.1 / spec.K, "mass": 1.0} for spec in (*specs, iaf)}
    frame = density.make(sources(study_of(found), metrics_of(found)))
    shown = by_row(density, frame)
    assert list(shown.columns) == ["no flow", "iaf"]
    assert shown.loc[("kl", 4), "no flow"] == "**0.250**"
    assert shown.loc[("-elbo", 4), "no flow"] == "**0.275**"
    assert shown.loc[("kl", 4), "iaf"] == ""
    assert "control" not in shown.index.get_level_values("metric")
    assert headline(density, frame).split()[-3:] == ["kl", "4", "0.250"]


def own_model(K):
    """The spec of a model of a user's own file, with a metric of its own."""
    facts = dict.fromkeys(("has_codes", "posterior_is_mixture"), True)
    facts |= dict.fromkeys(("categorises", "components_are_models", "named_by_model", "has_category_priors"), False)
    facts |= {
        "latent_units": 3,
        "judged": ["nll_miselbo"],
        "extra": ["spread"],
        "metrics": {"spread": {"note": "of means", "better": "max"}},
    }
    own = {"model": "mine", "sha256": "a" * 64, "settings": {"beta": 2.0}, "facts": facts}
    return parse_run(run("vae", K=K).training_spec() | own)


def test_metrics_of_own_models_have_a_table():
    specs = [own_model(K) for K in (2, 4)]
    values = zip(specs, ({"spread": 0.5}, {"spread": 0.75}), strict=True)
    given = sources(study_of(specs), metrics_of(SimpleNamespace(items=lambda: values)))
    frame, page = made(TABLES["own"], given)
    shown = by_row(TABLES["own"], frame)
    assert shown.loc[("spread", 4), "standard+none"] == "**0.750**"
    assert shown.loc[("spread", 2), "standard+none"] == "0.500"
    assert "- `spread`: of means; higher is better." in page
    assert outputs.tables(specs, given.study.datasets) == [
        f"{kind}_mnist" for kind in ("ablation", "comparisons", "ranking", "latent", "gaps", "own", "published")
    ]


@pytest.mark.parametrize("kind", TABLES)
def test_every_table_can_be_written(kind, tmp_path):
    toy = parse_run({"model": "toy", "dataset": "ring", "K": 2})
    spec = {"density": toy, "ablation": run("vae", K=2), "own": own_model(K=2)}.get(kind, run("mvae", K=2))
    given = sources(study_of([spec]), metrics_of({}), tmp_path, {spec.id})
    frame, page = made(TABLES[kind], given)
    if kind not in ("comparisons", "ranking"):
        assert ("missing" if kind == "published" else "missing (0 of 1)") in page
        assert len(TABLES[kind].grids(frame)[0].rows) == len(frame.drop_duplicates(["metric", "K"]))
    assert "{" not in page
    source = latex(TABLES[kind], frame, given)
    assert source.startswith("% ")
    assert r"\bottomrule" in source


def test_every_kind_that_a_study_may_have_can_be_made():
    assert list(outputs.TABLES) == list(TABLES)


def test_cells_say_of_which_runs_they_are_made_and_how(tmp_path):
    given = make(tmp_path, specs_of(), [10, 12, 9, 10])
    study = given.study
    values = given.metrics.set_index(["run", "metric"])["value"]
    for kind in (ablation, ranking):
        for row in kind.make(given).to_dict("records"):
            members = row["runs"].split()
            assert {study.runs[name].K for name in members} == {row["K"]}
            assert {study.runs[name].group for name in members} == {row["group"]}
            assert row["mean"] == pytest.approx(row["factor"] * np.mean([values[name, row["made_from"]] for name in members]))
    for row in comparisons.make(given).to_dict("records"):
        ours, theirs = (
            np.mean([values[name, row["made_from"]] for name in row[side].split()]) for side in ("runs", "compared")
        )
        assert row["delta"] == pytest.approx(row["factor"] * (ours - theirs))
        assert {study.runs[name].K for name in row["compared"].split()} == {row["against"]}


@pytest.mark.parametrize("kind", TABLES)
def test_a_page_is_the_same_from_the_rows_that_were_written(kind, tmp_path):
    """The report lays out what it reads from the .csv."""
    specs = [run("mvae", "digits", K=K) for K in (1, 2)] if kind != "density" else []
    specs += [parse_run({"model": "toy", "dataset": "ring", "K": K}) for K in (1, 2)] if kind == "density" else []
    specs += [run("vae", "digits", K=2, likelihood="bernoulli")] if kind == "ablation" else []
    given = make(tmp_path, specs, [10, 9, 8][: len(specs)])
    more = {spec: {"mse": 3.0 - spec.K, "accuracy_mlp": 0.5, "accuracy_mlp_component_1": 0.25, "kl": 0.5} for spec in specs}
    found = replace(given, metrics=pd.concat([given.metrics, metrics_of(more)]))
    frame = TABLES[kind].make(found)
    frame.to_csv(tmp_path / "t.csv", index=False)
    again = pd.read_csv(tmp_path / "t.csv", dtype={"published": str})
    pages = [rendering.markdown("t", TABLES[kind].grids(one), TABLES[kind].note(one, found)) for one in (frame, again)]
    assert pages[0] == pages[1]
    assert "nan" not in pages[0].lower()


def test_latent_table_prefers_high_scores(tmp_path):
    given = make(tmp_path, specs_of(), [10, 12, 9, 10])
    frame = latent.make(given).set_index(["metric", "K"])
    assert frame.loc["ari", 1]["best"]
    assert not frame.loc["ari", 2]["best"]


def latex(table, frame, given):
    """Return a table as LaTeX, of a study whose name needs care."""
    return rendering.latex("digits: 100 % & more", table.grids(frame), table.note(frame, given))


def test_latex_escapes_what_it_must(tmp_path):
    given = with_a_hole(tmp_path, specs_of(latent=5))
    frame = ablation.make(given)
    source = latex(ablation, frame, given)
    assert r"nll\_matched" in source
    assert r"\$" not in source
    assert r"100 \% \& more" in source


EVERYTHING = "&%_#^~{}\\|$<>\"'†‡Δ±§Σ×–—`@*/[]é ü Ž 漢 \N{GRINNING FACE}"


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex on the PATH")
def test_latex_compiles(tmp_path):
    given = with_a_hole(tmp_path, specs_of())
    parts = []
    for number, kind in enumerate(("ablation", "comparisons", "ranking", "latent", "published")):
        frame = TABLES[kind].make(given)
        frame["column"] = f"{'[*'[number % 2]}{EVERYTHING}"
        if kind == "published":  # its first column
            frame.loc[1, "column"] = f"*{EVERYTHING}"
        parts.append(rendering.latex(f"{EVERYTHING}: {kind}", TABLES[kind].grids(frame), TABLES[kind].note(frame, given)))
    head = "\\documentclass{article}\\usepackage{booktabs,textcomp}\\begin{document}\n"
    (tmp_path / "t.tex").write_text(f"{head}{''.join(parts)}\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    options = {"capture_output": True, "text": True, "check": False, "errors": "replace", "timeout": 60}
    result = subprocess.run(command, cwd=tmp_path, **options)
    assert result.returncode == 0, result.stdout[-2000:]


def test_failures_name_the_first_missing_rule_and_the_end_of_its_log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = small_spec()
    study, runs = study_of([spec]), tmp_path / "results/runs"
    nothing = {"run": spec.id, "rule": "download", "log": "no log: the rule was not started"}
    assert failures(study, runs).to_dict("records") == [nothing]
    data, folder = tmp_path / "results/datasets" / spec.dataset, runs / spec.id
    touch(data / "raw.json", data / "logs/prepare.attempts.log")
    attempts = "--- 2026-01-01T00:00:00Z on a\nerror: something else\n--- 2026-01-02T00:00:00Z on b, SLURM job 7\nerror: no such split\n"
    (data / "logs/prepare.attempts.log").write_text(attempts)
    [row] = failures(study, runs).to_dict("records")
    assert (row["rule"], row["log"]) == (
        "prepare",
        "attempt 2: 2026-01-02T00:00:00Z on b, SLURM job 7\nerror: no such split",
    )
    of_slurm = tmp_path / ".snakemake/slurm_logs/rule_prepare" / spec.dataset / "7.log"
    touch(of_slurm)
    of_slurm.write_text(
        "Building DAG\nslurmstepd: error: StepId=7.0 exceeded memory limit\nWorkflowError: error: of Snakemake's\n"
    )
    assert failures(study, runs).log[0].endswith("split\nslurmstepd: error: StepId=7.0 exceeded memory limit")
    touch(data / "data.npz", data / "dataset.json")
    assert failures(study, runs).rule.tolist() == ["train"]
    log = folder_of("evaluate", spec, folder) / "logs/evaluate.attempts.log"
    touch(*(folder / name for name in (*RUN_FILES["train"], "provenance/train.json")), log)
    start = "--- 2026-01-01T00:00:00Z on a\n"
    log.write_text(start + "\n".join(map(str, range(20))) + "\nerror: boom\n")
    [row] = failures(study, runs).to_dict("records")
    assert row["rule"] == "evaluate"
    assert row["log"].splitlines()[1:] == ["16", "17", "18", "19", "error: boom"]
    for rule in ("evaluate", "bracket", "latents"):
        touch(*(run_file(name, spec, folder) for name in RUN_FILES[rule]), record_of(rule, spec, folder))
    (data / "data.npz").unlink()  # to save space; the run is complete
    assert failures(study, runs).empty


def touch(*files) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")


def fabricate(root, specs):
    """Write study.json and everything that the rules leave of every run, with numbers made up."""
    rng = np.random.default_rng(0)
    (root / "results/s").mkdir(parents=True)
    datasets = {spec.dataset: catalogue()[spec.dataset].model_dump(mode="json") for spec in specs}
    content = {
        "study": "s",
        "runs": {spec.id: spec.model_dump(mode="json") for spec in specs},
        "skipped": [],
        "datasets": datasets,
    }
    (root / "results/s/study.json").write_text(json.dumps(content))
    for spec in specs:
        folder = root / "results/runs" / spec.id
        pointwise = {made_from(name): rng.normal(-80 if name == "-elbo" else 80, 1, N) for name in ("-elbo", *PLAIN, "nll")}
        found = {name: (array.mean(), "nats") for name, array in pointwise.items()}
        if spec.likelihood.name == "gaussian":
            found |= {"mse": (12.0, ""), "rmse": (12**0.5, "")}
        if spec.model == "mvae" and spec.dataset == "cifar10":
            found["inception_score"] = (None, "not measured: no weights")
        if spec.model == "toy":
            found |= {"kl": (0.1, "nats"), "mass": (1.0, "")}
        latents = {"ari": (0.5, "score"), "active_units": (3, "units"), "accuracy_svm": (0.9, "share")}
        for name, values in (("likelihood.json", found), ("latent_metrics.json", latents)):
            entries = {metric: {"value": value, "stderr": None, "unit": unit} for metric, (value, unit) in values.items()}
            path = run_file(name, spec, folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"metrics": entries}))
        np.savez(run_file("pointwise.npz", spec, folder), **pointwise)
        if spec.annealing:
            anneal(spec, folder, rng.normal(79, 1, N))
        training = {"parameters": 1, "epochs": 3, "best_epoch": 2, "stopped_by": "budget"}
        touch(*(run_file(name, spec, folder) for name in ("model.safetensors", "latents.h5ad", "history.csv", "spec.json")))
        (folder / "training.json").write_text(json.dumps(training))
        for rule in {"latents", *rules_of(spec)}:
            record = record_of(rule, spec, folder)
            record.parent.mkdir(parents=True)
            record.write_text(json.dumps({"inputs": {}, "outputs": {}, "train_seconds": 1, "peak_memory_mb": 1}))


def anneal(spec, folder, values, mc_error=0.01, gap=0.02):
    """Write what rule bracket leaves of a run."""
    path = run_file("bracket.npz", spec, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, nll_ais=values, positions=np.arange(len(values)))
    found = {"nll_ais": (values.mean(), mc_error), "ais_gap": (gap, 0.01)}
    entries = {
        name: {"value": value, "stderr": 0.1, "mc_error": error, "unit": "nats"} for name, (value, error) in found.items()
    }
    path.with_suffix(".json").write_text(json.dumps({"metrics": entries}))


def annealed(given, spec, values, mc_error=0.01, gap=0.02):
    """Add annealed likelihoods to a run, and return what tables are made from then."""
    anneal(spec, given.runs / spec.id, values, mc_error, gap)
    names = (spec.id, spec.dataset, spec.model, spec.K, spec.prior.name, spec.flow.name, spec.seed)
    rows = [(*names, "nll_ais", values.mean(), None, "nats", "", mc_error), (*names, "ais_gap", gap, None, "nats", "", 0.01)]
    for name in ("nll", "nll_matched", "nll_miselbo"):
        above = (given.pointwise(spec.id)[name].values - values).mean()
        rows.append((*names, f"{name}_excess", above, None, "nats", "", None))
    return sources(given.study, pd.concat([given.metrics, pd.DataFrame(rows, columns=METRICS)]), given.runs, given.missing)


def nll_of(given, spec):
    return given.pointwise(spec.id)["nll"].values


ANNEALED = {"samples": 50}
"""Annealing is on unless it is left out."""


def test_annealed_likelihoods_are_compared_and_judge_the_plain_ones(tmp_path):
    specs = [small_spec(K=K, evaluation=ANNEALED) for K in (1, 2)]
    given = make(tmp_path, specs, [10, 9])
    for spec in specs:
        given = annealed(given, spec, nll_of(given, spec) - 0.02)
    frame = table(given)
    assert frame.loc["nll_ais", 2, "standard+none"]["delta"] == pytest.approx(-1)
    marked = {name for name, K, _ in frame.index[frame.unreliable.astype(bool)] if K == 2}
    # the made-up nll_matched is 0.27 nats off; nll_miselbo rests on the weights of nll, which is 0.02 off
    assert marked == {"nll_matched"}
    assert {"-elbo", "nll_ais"} <= set(ranking.make(given).metric)
    assert "on all test points" in made(ablation, given)[1]


def test_how_far_plain_estimates_are_off_is_a_metric_of_the_annealed_points(tmp_path):
    """The annealed points are easier than the others here, so the means of the two estimates tell nothing of each other."""
    spec = small_spec(K=2, evaluation=ANNEALED | {"ais": {"points": 10}})
    fabricate(tmp_path, [spec])
    study, runs = study_of([spec]), tmp_path / "results/runs"
    with np.load(run_file("pointwise.npz", spec, runs / spec.id)) as arrays:
        plain = {name: arrays[name] for name in ("nll", "nll_matched", "nll_miselbo")}
    positions = np.argsort(plain["nll"])[:10]
    nll = plain["nll"][positions] - np.linspace(0.2, 0.4, 10)
    anneal(spec, runs / spec.id, nll)
    path = run_file("bracket.npz", spec, runs / spec.id)
    np.savez(path, nll_ais=nll, positions=positions)
    metrics = tidy(study, runs, set())
    found = metrics.set_index("metric")
    for name, values in plain.items():
        above = values[positions] - nll
        assert found.loc[f"{name}_excess", "value"] == pytest.approx(above.mean())
        assert found.loc[f"{name}_excess", "stderr"] == pytest.approx(above.std(ddof=1) / 10**0.5)
    assert found.loc["nll_excess", "value"] == pytest.approx(0.3)
    assert found.loc["nll", "value"] - found.loc["nll_ais", "value"] > 1
    given = sources(study, metrics, runs, set())
    assert gaps.make(given).set_index("metric").loc["nll_excess", "mean"] == pytest.approx(0.3)
    note = made(ablation, given)[1]
    assert "on 10 of 300 test points" in note
    assert "do not subtract" in note
    path.write_bytes(b"broken")
    with pytest.raises(UserError, match="values at test points cannot be read"):
        tidy(study, runs, set())


def test_an_excess_is_not_measured_for_the_reason_of_the_annealing(tmp_path):
    spec = small_spec(K=1, evaluation=ANNEALED)
    fabricate(tmp_path, [spec])
    path = run_file("bracket.json", spec, tmp_path / "results/runs" / spec.id)
    path.write_text(json.dumps({"metrics": {"nll_ais": {"value": None, "unit": "not measured: no bridge"}}}))
    found = tidy(study_of([spec]), tmp_path / "results/runs", set()).set_index("metric")
    assert np.isnan(found.loc["nll_excess", "value"])
    assert found.loc["nll_excess", "unit"] == "not measured: no bridge"


@pytest.mark.parametrize(("mc_error", "gap", "marked"), [(0.04, 0.0, False), (0.06, 0.0, True), (0.01, 0.11, True)])
def test_an_annealed_likelihood_is_doubtful_by_its_own_errors(tmp_path, mc_error, gap, marked):
    spec = small_spec(K=1, evaluation=ANNEALED)
    given = make(tmp_path, [spec], [10])
    given = annealed(given, spec, nll_of(given, spec), mc_error, gap)
    assert table(given).loc["nll_ais", 1, "standard+none"]["unreliable"] == marked


def test_an_annealed_likelihood_above_another_estimate_is_doubtful(tmp_path):
    spec = small_spec(K=1, evaluation=ANNEALED)
    given = make(tmp_path, [spec], [10])
    given = annealed(given, spec, nll_of(given, spec) + 0.1)
    frame = table(given).loc[:, 1, "standard+none"]
    assert frame.loc["nll_ais", "unreliable"]
    assert not frame.loc["nll", "unreliable"]
    rows = gaps.make(given).set_index("metric")
    assert rows.loc["nll_ais", "unreliable"]


def test_a_difference_is_doubtful_by_the_errors_of_both_sides(tmp_path):
    specs = [small_spec(K=K, evaluation=ANNEALED) for K in (1, 2)]
    given = make(tmp_path, specs, [10, 9])
    for spec in specs:
        given = annealed(given, spec, nll_of(given, spec), mc_error=0.04)
    assert not table(given).loc["nll_ais"].unreliable.any()
    rows = comparisons.make(given)
    assert rows[rows.metric == "nll_ais"].unreliable.all()


def test_no_difference_mixes_two_estimators(tmp_path):
    specs = [small_spec(K=K, evaluation=ANNEALED) for K in (1, 2)]
    given = make(tmp_path, specs, [10, 9])
    given = annealed(given, specs[0], nll_of(given, specs[0]))
    assert set(comparisons.make(given).metric) == set(PLAIN)
    assert np.isnan(table(given).loc["nll_ais", 2, "standard+none"]["mean"])


def test_bits_are_made_from_the_reported_estimate_which_the_unit_names(tmp_path):
    specs = [small_spec(K=1, evaluation=ANNEALED), small_spec(K=1, seed=1)]
    fabricate(tmp_path, specs)
    found = tidy(study_of(specs), tmp_path / "results/runs", set())
    bits = found[found.metric == "bpd"].set_index("run")
    for spec, name in zip(specs, ("nll_ais", "nll"), strict=True):
        (value,) = found[(found.metric == name) & (found.run == spec.id)].value
        assert bits.loc[spec.id, "value"] == pytest.approx(value / (64 * np.log(2)))
        assert bits.loc[spec.id, "unit"] == f"bits/dim by {name}"
    counts = small_spec(dataset="pbmc68k_reduced", likelihood="zinb", K=1)
    fabricate(tmp_path / "counts", [counts])
    assert "bpd" not in set(tidy(study_of([counts]), tmp_path / "counts/results/runs", set()).metric)


def test_tabulate_writes_every_table_of_a_study(workspace):
    specs = [run("vae", K=K, seed=seed) for K in (1, 2) for seed in (0, 1)]
    specs += [run("mvae", dataset, K=K) for dataset in ("mnist", "cifar10") for K in (1, 3)]
    specs += [parse_run({"model": "toy", "dataset": "ring", "K": K}) for K in (1, 2)]
    specs += [parse_run({"model": "constant", "dataset": "mnist", "likelihood": name}) for name in ("bernoulli", "gaussian")]
    specs += [parse_run({"model": "constant", "dataset": "cifar10", "likelihood": "gaussian"})]
    fabricate(workspace, specs)
    run_file("likelihood.json", specs[-4], workspace / "results/runs" / specs[-4].id).unlink()
    arguments = ("--study", "results/s/study.json", "--runs", "results/runs", "--allow-missing")
    result = run_script("tabulate", *arguments, cwd=workspace)
    assert result.returncode == 0, result.stderr
    folder = workspace / "results/s/tables"
    kinds = ("ablation", "comparisons", "ranking", "latent", "reconstruction", "gaps", "components", "published")
    stems = {f"{kind}_{dataset}" for kind in kinds for dataset in ("mnist", "cifar10")} | {"density_ring"}
    assert {path.name for path in folder.iterdir()} == {f"{stem}.{end}" for stem in stems for end in ("csv", "md", "tex")}
    assert "no weights" in (folder / "reconstruction_cifar10.md").read_text()
    comparison = pd.read_csv(folder / "published_mnist.csv")
    matched = comparison[comparison.status == "compared"]
    assert set(matched.published) == {84.5, 84.45}
    np.testing.assert_allclose(matched.difference, matched.ours - matched.published)
    record = json.loads((workspace / "results/s/provenance/tabulate.json").read_text())
    assert record["inputs"]["config/published.csv"] == sha256(workspace / "config/published.csv")
    assert "missing (0 of 1)" in (folder / "density_ring.md").read_text()
