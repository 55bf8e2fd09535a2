"""Figures from made-up results of untrained models: what is drawn, that nothing overlaps, and that bytes repeat."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from support.made_up import evaluated_on

from mixvae.data import prepared
from mixvae.data.arrays import Arrays, consecutive
from mixvae.fitting.runs import build_for, save_run
from mixvae.fitting.training import Trained
from mixvae.measuring import rule_latents as latents
from mixvae.study import DatasetInfo, parse_run
from mixvae.study.jobs import run_file
from mixvae.study.metrics import made_from
from mixvae.study.outputs import figures as figure_names
from mixvae.summary import figures
from mixvae.summary.cells import LIKELIHOODS, ORIGIN, Sources
from mixvae.summary.figures import categories, draws, images, scatter, style
from mixvae.summary.figures.view import View
from mixvae.summary.results import COLUMNS, StudyRuns
from mixvae.summary.tables import TABLES, comparisons, ranking

pytestmark = pytest.mark.slow

SIZES = {"train": 40, "valid": 10, "test": 14}
DATA = {
    "greys": ("grey_image", (1, 6, 6), 255, "bernoulli"),
    "colours": ("colour_image", (3, 6, 6), 255, "gaussian"),
    "line": ("real", (1,), None, {"name": "gaussian", "std": 0.05}),
    "ring": ("density", (2,), None, "density"),
    "cells": ("counts", (7,), None, "nb"),
}
"""The kind of each data set, its shape and levels, and the likelihood of its runs."""


def info_of(name: str, classes: int = 3) -> DatasetInfo:
    kind, shape, levels, _ = DATA[name]
    facts = {"title": name, "licence": "", "citation": "", "files": {}, "splits": SIZES, "classes": classes}
    return DatasetInfo(kind=kind, shape=shape, levels=levels, **facts)


def spec_of(dataset: str, model: str, **changes):
    base = {"dataset": dataset, "model": model, "training": {"epochs": 3, "warmup": 1}}
    if model == "toy":
        return parse_run(base | changes)
    base |= {"encoder": {"hidden": [8]}, "decoder": {"hidden": [8]}, "latent": 2}
    if model != "mvae":
        base["likelihood"] = DATA[dataset][3]
    return parse_run(base | changes)


def make(root, specs, missing=(), classes: int = 3) -> View:
    """Write data, weights, histories and codes of runs of one data set, all drawn at random, and return a view of them."""
    name = specs[0].dataset
    info, rng, n = info_of(name, classes), np.random.default_rng(0), sum(SIZES.values())
    if info.kind in ("real", "density"):
        x = rng.normal(0.5, 0.2, (n, *info.shape)).astype(np.float32)
    else:
        x = rng.integers(1, 255, (n, *info.shape))
    labels = [f"class {i}" for i in range(classes)]
    raw = Arrays(x, rng.integers(0, classes, n), labels, parts=consecutive(*SIZES.values()))
    data = prepared.prepare(name, info, raw)
    folder = root / "datasets" / name
    folder.mkdir(parents=True)
    prepared.save(data, folder)
    rows = []
    for spec in specs:
        if spec.id in missing:
            continue
        model, run = build_for(spec, data), root / "runs" / spec.id
        history = [
            dict.fromkeys(("beta", "train_objective", "train_reconstruction", "train_kl", "seconds"), 0.0) for _ in range(3)
        ]
        history = [row | {"epoch": epoch, "valid_bound": -9.0 + epoch - spec.K} for epoch, row in enumerate(history)]
        save_run(run, spec, model, Trained(model.state_dict(), history, 2, "budget"))
        y = {part: data.arrays[f"y_{part}"] for part in ("train", "test")}
        if spec.model != "toy":
            binary = spec.likelihood.name == "bernoulli"
            codes = {part: latents.codes(model, torch.from_numpy(data.points(part, binary))) for part in y}
            path = run_file("latents.h5ad", spec, run)
            path.parent.mkdir(parents=True)
            latents.write_h5ad(path, codes, y, np.zeros(SIZES["test"], int), labels)
        points = {made_from(block): rng.normal(19 - spec.K, 1, SIZES["test"]) for block in LIKELIHOODS if block != "nll_ais"}
        evaluated_on(spec, run, "a")
        np.savez(run_file("pointwise.npz", spec, run), **points)
        values = {"elbo": -20.0 - spec.seed, "nll_miselbo": 19.0, "nll_matched": 18.0, "kl": 0.25}
        values |= {"accuracy_svm": 0.5 + spec.K / 100, "accuracy_knn": 0.7, "accuracy_mlp": 0.8}
        values |= {"approximation_gap": 0.5 / spec.K, "approximation_gap_one": 0.6, "amortisation_gap": 0.2}
        values |= {"pareto_k_above_0.7": 0.5 if spec.K > 1 else 0.0}
        names = (spec.id, spec.dataset, spec.model, spec.K, spec.prior.name, spec.flow.name, spec.seed)
        rows += [(*names, metric, value, None, "", "", None) for metric, value in values.items()]
    study = StudyRuns("s", {spec.id: spec for spec in specs}, [], {name: info})
    metrics = pd.DataFrame(rows, columns=COLUMNS)
    if info.kind != "density":
        (root / "s/tables").mkdir(parents=True)
        sources = Sources(study, name, metrics, root / "runs", set(missing))
        for kind in ("ablation", "comparisons", "ranking", "gaps"):
            TABLES[kind].make(sources).to_csv(root / f"s/tables/{kind}_{name}.csv", index=False)
    return View(study, name, metrics, set(missing), root)


GREYS = [
    *(spec_of("greys", "vae", K=K, seed=seed) for K in (1, 2) for seed in (0, 1)),
    spec_of("greys", "vae", K=1, prior={"name": "vamp", "components": 3}),
    spec_of("greys", "cpvae", K=3),
    *(spec_of("greys", "mvae", K=K) for K in (1, 2)),
]
COLOURED = [*(spec_of("colours", "vae", K=K) for K in (1, 2)), spec_of("colours", "mvae", K=3)]
LINE = [spec_of("line", "vae", K=1), spec_of("line", "cpvae", K=2)]
RING = [*(spec_of("ring", "toy", K=K) for K in (1, 2, 3)), spec_of("ring", "toy", K=1, flow={"name": "iaf", "hidden": [4]})]
CELLS = [spec_of("cells", "vae", K=K) for K in (1, 2)]
# kind: runs, panels, and words that stand in the figure
CASES = {
    "nll greys": (GREYS, 6, ["-elbo, binary pixels", "-elbo, real numbers", "nats per test point", "circled", "over 2 seeds"]),
    "nll colours": (COLOURED, 3, ["bits per dimension", "one seed"]),
    "nll cells": (CELLS[:1], 3, ["nats per test point"]),
    "comparisons greys": (
        GREYS,
        6,
        [
            "-elbo, binary pixels",
            "nll_matched, real numbers",
            "vae standard+none (bernoulli), K=2 against 1",
            "95 % interval over 14 test points",
            "range over 2 seeds",
            "p < 0.05, adjusted by Holm for 6 comparisons",
            "†: the estimate is doubtful",
        ],
    ),
    "comparisons colours": (
        COLOURED[:2],
        3,
        ["nll_miselbo", "difference (nats per test point)", "standard+none, K=2 against 1", "against K = 1"],
    ),
    "ranking greys": (
        GREYS,
        6,
        ["-elbo, binary pixels", "rank of the mean", "probability of being best", "mvae (gaussian), K=1", "1.00"],
    ),
    "ranking line": (LINE, 3, ["rank, 1 is the lowest", "cpvae, K=2", "95 % interval over 14 test points"]),
    "gaps greys": (
        GREYS,
        4,
        [
            "approximation: the family of posteriors",
            "one Gaussian under the same decoder",
            "nats per test point",
            "cpvae (bernoulli)",
        ],
    ),
    "training greys": (GREYS, 4, ["epoch", "validation bound (nats)", "K=1", "K=2", "K=3"]),
    "training ring": (RING, 2, ["epoch", "validation bound (nats)"]),
    "samples greys": (GREYS, 6, ["samples from the prior", "cpvae (bernoulli), K=3"]),
    "samples colours": (COLOURED, 3, ["mvae, K=3"]),
    "reconstructions greys": (GREYS, 8, ["test images, binarised", "test images", "cpvae (bernoulli), K=3"]),
    "reconstructions colours": (COLOURED, 4, ["test images", "mvae, K=3"]),
    "umap cells": (CELLS, 2, ["UMAP 1", "UMAP 2", "class 2", "standard+none, K=2"]),
    "components greys": (GREYS, 4, ["test images", "component 1", "component 2", "mixture"]),
    "components colours": (COLOURED, 5, ["component 3", "mixture"]),
    "accuracy greys": (GREYS, 3, ["k nearest neighbours", "linear SVM", "MLP", "share of test points"]),
    "maps greys": (GREYS, 3, ["component 1", "component 2", "a single VAE", "z1", "z2", "class 0"]),
    "categories greys": (GREYS, 3, ["cpvae (bernoulli), K=3", "its 3 pseudo-inputs u", "samples from the prior", "u2"]),
    "histograms line": (LINE, 2, ["density", "test data", "c from q(c)", "c from p(c)", "noise included"]),
    "density ring": (RING, 4, ["KL to the target 0.2500 nats", "no flow, K=3", "iaf, K=1", "z1", "z2"]),
}


def texts(figure) -> list[str]:
    return [" ".join(text.get_text().split()) for text in figure.findobj(plt.Text) if text.get_visible()]


def assert_nothing_overlaps(figure) -> None:
    figure.draw_without_rendering()
    boxes = [ax.get_window_extent() for ax in figure.axes if ax.get_visible()]
    boxes += [ax.title.get_window_extent() for ax in figure.axes if ax.get_visible() and ax.get_title()]
    boxes += [figure._suptitle.get_window_extent(), *(legend.get_window_extent() for legend in figure.legends)]
    boxes += [label.get_window_extent() for label in (figure._supxlabel, figure._supylabel) if label]
    for one, other in itertools.combinations(boxes, 2):
        wide, high = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
        assert min(wide, high) <= 1.0


@pytest.fixture
def flat(monkeypatch):
    """UMAP takes its time: its place is taken by the first two codes."""
    monkeypatch.setattr(scatter, "embed", lambda features: features[:, :2])


@pytest.mark.parametrize("case", CASES)
def test_figure(tmp_path, flat, monkeypatch, case):
    monkeypatch.setattr(style, "DPI", 40)  # saving is what takes the time
    specs, panels, words = CASES[case]
    view, kind = make(tmp_path, specs), case.split()[0]
    assert f"{kind}_{view.dataset}" in figure_names(specs, {view.dataset: view.info})
    figure = figures.draw(kind, view)
    assert sum(ax.get_visible() for ax in figure.axes) == panels
    found = texts(figure)
    assert view.dataset in figure.get_suptitle()
    for word in words:
        assert any(word in text for text in found), (word, found)
    assert_nothing_overlaps(figure)
    figures.save(figure, tmp_path / "one")
    pixels = plt.imread(tmp_path / "one.png")
    assert pixels[..., :3].std() > 0.05
    # a second call of the script, in which other figures have loaded the models and drawn random numbers before
    again = View(view.study, view.dataset, view.metrics, view.missing, view.root)
    for run in again.columns:
        again.model(run, "another figure")
    torch.manual_seed(123)
    figures.save(figures.draw(kind, again), tmp_path / "two")
    for suffix in (".png", ".pdf"):
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_every_kind_is_tried_and_there_is_no_other():
    names = {"greys": GREYS, "colours": COLOURED, "line": LINE, "ring": RING, "cells": CELLS}
    known = {name.split("_")[0] for key, specs in names.items() for name in figure_names(specs, {key: info_of(key)})}
    assert known == set(figures.FIGURES) == {case.split()[0] for case in CASES}


def test_missing_runs_are_left_out(tmp_path, flat):
    specs = [*CELLS, spec_of("cells", "vae", K=1, prior="mog")]
    view = make(tmp_path, specs, missing={specs[2].id})
    for kind in ("nll", "training", "umap"):
        found = texts(figures.draw(kind, view))
        assert any("standard" in text for text in found)
        assert not any("mog" in text for text in found)
    plt.close("all")


@pytest.mark.parametrize("specs", [GREYS, LINE, RING, CELLS])
def test_without_a_run_there_is_no_figure(tmp_path, specs):
    view = make(tmp_path, specs, missing={spec.id for spec in specs})
    for name in figure_names(specs, {view.dataset: view.info}):
        assert figures.draw(name.split("_")[0], view) is None


def test_lines_are_means_over_seeds_and_colours_in_bits_per_dimension(tmp_path):
    figure = figures.draw("nll", make(tmp_path / "greys", GREYS[:4]))
    line = figure.axes[0].lines[0]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 2], [20.5, 20.5])
    assert not [line for line in figure.axes[0].lines if line.get_markersize() == 9]  # the ELBO needs no weights
    (ring,) = [line for line in figure.axes[2].lines if line.get_markersize() == 9]
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([2], [19.0])
    figure = figures.draw("nll", make(tmp_path / "colours", COLOURED[:2]))
    assert figure.axes[0].lines[0].get_ydata() == pytest.approx([20 / (108 * np.log(2))] * 2)
    plt.close("all")


def test_one_k_gives_a_list_of_columns(tmp_path):
    specs = [spec_of("cells", "vae", K=2, latent=latent) for latent in (2, 3, 10)]
    figure = figures.draw("nll", make(tmp_path, specs))
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [f"standard+none (latent={latent})" for latent in (2, 3, 10)]
    assert not figure.legends
    plt.close("all")


def test_many_columns_and_long_names_fit(tmp_path, monkeypatch):
    specs = [spec_of("cells", "vae", K=K, latent=latent) for latent in range(2, 14) for K in (1, 500)]
    view = make(tmp_path, specs[:2])
    monkeypatch.setattr(
        figures.view,
        "column_names",
        lambda *_: {s.id: f"standard+none (a long variant of a run, latent={s.latent})" for s in specs},
    )
    rows = [view.metrics.assign(run=spec.id, K=spec.K) for spec in specs]
    study = view.study._replace(runs={spec.id: spec for spec in specs})
    rows = [frame[frame.metric.isin(["elbo", "nll_miselbo", "nll_matched"])].drop_duplicates("metric") for frame in rows]
    view = View(study, view.dataset, pd.concat(rows), set(), tmp_path)
    figure = figures.draw("nll", view)
    assert_nothing_overlaps(figure)
    assert len(figure.legends[0].get_texts()) == 12
    looks = {(str(line.get_color()), line.get_marker()) for line in figure.axes[0].lines if line.get_markersize() < 9}
    assert len(looks) == 12
    plt.close("all")


def intervals_of(tmp_path, columns: int, Ks: tuple[int, ...]) -> View:
    """Return a view of tables in which everything is known: the difference of row n is n / 10, and so is its place."""
    names = [f"standard+none (a long variant of a run that goes on and on, latent={c})" for c in range(columns)]
    pairs = [(K, against) for smaller, K in itertools.pairwise((1, *Ks)) for against in sorted({1, smaller})]
    (tmp_path / "s/tables").mkdir(parents=True)
    for kind, order in (("comparisons", comparisons.COLUMNS), ("ranking", ranking.COLUMNS)):
        cells = pairs if kind == "comparisons" else [(K, 0) for K in Ks]
        rows = [(name, *cell) for name in names for cell in cells]
        frame = pd.DataFrame(rows, columns=["column", "K", "against"]).assign(
            points=10_000, seeds=2, seed_kind="min-max", unreliable=True, stopped_by_budget=True, mean=9.0
        )
        number = np.arange(len(rows)) / 10
        frame = frame.assign(delta=number, low=number - 1, high=number + 2, seed_low=number - 0.5, seed_high=number + 0.25)
        frame = frame.assign(measure="counts", step=True, **dict.fromkeys(ORIGIN, ""))
        frame = frame.assign(p=0.01, p_adjusted=np.where(number < 0.15, 0.03, 0.2), probability_best=0.25)
        frame["rank"] = frame["rank_low"] = frame["rank_high"] = frame["seed_rank_low"] = np.arange(len(rows)) + 1
        frame["seed_rank_high"] = len(rows)
        blocks = [frame.assign(metric=block) for block in ("-elbo", "nll_miselbo", "nll_matched")]
        pd.concat(blocks)[order].to_csv(tmp_path / f"s/tables/{kind}_d.csv", index=False)
    view = View(StudyRuns("s", {}, [], {}), "d", pd.DataFrame(), set(), tmp_path)
    view.__dict__["columns"] = {name: name for name in names}
    return view


@pytest.mark.parametrize(("columns", "Ks"), [(1, (2, 4)), (15, (2, 4, 8, 16)), (60, (2, 3, 4))])
@pytest.mark.parametrize("kind", ["comparisons", "ranking"])
def test_intervals_are_readable_with_few_and_with_many_rows(tmp_path, kind, columns, Ks):
    figure = figures.draw(kind, intervals_of(tmp_path, columns, Ks))
    assert_nothing_overlaps(figure)
    names = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(names) == columns * (2 * len(Ks) - 1 if kind == "comparisons" else len(Ks))
    if kind == "comparisons":
        assert figure.get_size_inches()[1] < 0.25 * len(names) + 1.5
    for above, below in itertools.pairwise(names):
        assert above.y0 > below.y1
    beside = [text for ax in figure.axes for text in ax.texts]
    assert all(text.get_text().endswith("†‡") for text in beside)
    for text in beside:
        for ax in figure.axes:
            box = ax.get_window_extent()
            assert text.get_window_extent().x0 >= box.x1 or text.get_window_extent().x1 <= box.x0
    plt.close("all")


def test_forest_has_both_intervals_and_fills_what_is_shown(tmp_path):
    figure = figures.draw("comparisons", intervals_of(tmp_path, 2, (2, 4)))
    ax = figure.axes[0]
    points = [line for line in ax.lines if line.get_marker() in ("o", "D")]
    assert [line.get_xdata()[0] for line in points] == pytest.approx([n / 10 for n in range(6)])
    assert [line.get_markerfacecolor() == "white" for line in points] == [False, False, True, True, True, True]
    # K = 2 against 1, 4 against 1 and 4 against 2
    assert [line.get_marker() for line in points] == ["o", "o", "D"] * 2
    assert len({line.get_color() for line in points}) == 2
    names = [label.get_text().split("latent=")[-1] for label in ax.get_yticklabels()]
    assert names == [name for c in (0, 1) for name in (f"{c}), K=2 against 1", "K=4 against 1", "against 2")]
    assert {"against K = 1", "against the next smaller K, where not 1"} <= set(texts(figure))
    drawn = [collection.get_segments()[0] for collection in ax.collections]
    assert [list(segment[:, 0]) for segment in drawn] == [pytest.approx([n / 10 - 1, n / 10 + 2]) for n in range(6)]
    seeds = [line for line in ax.lines if line.get_marker() == "|"]
    assert [list(line.get_xdata()) for line in seeds] == [pytest.approx([n / 10 - 0.5, n / 10 + 0.25]) for n in range(6)]
    for segment, line in zip(drawn, seeds, strict=True):
        assert segment[0, 1] < line.get_ydata()[0] < segment[0, 1] + 0.5  # below its own, above the next
    assert any(list(line.get_xdata()) == [0, 0] for line in ax.lines)
    plt.close("all")


def test_without_k_1_every_k_is_drawn_against_the_next_smaller(tmp_path):
    specs = [spec_of("greys", "cpvae", K=K) for K in (3, 5)]
    view = make(tmp_path, specs)
    assert "comparisons_greys" in figure_names(specs, {"greys": view.info})
    figure = figures.draw("comparisons", view)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["cpvae, K=5 against 3"]
    assert "against K = 1" not in texts(figure)
    plt.close("all")


def test_what_fits():
    def view(columns: int, Ks: tuple[int, ...]) -> View:
        specs = {f"{c}-{K}-{seed}": (c, K, seed) for c in range(columns) for K in Ks for seed in (1, 0)}
        runs = {run: SimpleNamespace(K=K, seed=seed) for run, (_, K, seed) in specs.items()}
        result = View(StudyRuns("s", runs, [], {}), "d", pd.DataFrame(), set(), None)
        result.__dict__["columns"] = {run: f"column {c}" for run, (c, _, _) in specs.items()}
        return result

    assert view(2, (1, 2, 4)).fitting(6) == (["0-1-0", "0-2-0", "0-4-0", "1-1-0", "1-2-0", "1-4-0"], "")
    assert view(2, (1, 2, 4)).fitting(5)[0] == ["0-1-0", "0-4-0", "1-1-0", "1-4-0"]
    assert view(2, (1, 2, 4)).fitting(3)[0] == ["0-4-0", "1-4-0"]
    runs, note = view(12, (1, 2, 4)).fitting(11)
    assert runs == [f"{c}-4-0" for c in range(11)]  # column 10 after column 9, not after column 1
    assert "first 11 of 12" in note


def test_natural_order():
    wanted = ["a 2x300", "a 10x300", "latent=9", "latent=10", "9", "10"]
    assert sorted(set(wanted), key=style.natural) == wanted


def test_generations_have_the_noise_of_the_likelihood(tmp_path, monkeypatch):
    view = make(tmp_path, LINE)
    wanted = torch.tensor([0.9, 0.1])
    given = []

    def sample(n, q=None):
        given.append(q)
        return torch.full((n, 1), 0.4)

    stub = SimpleNamespace(sample=sample, categories=lambda x: wanted.expand(len(x), 2))
    monkeypatch.setattr(View, "model", lambda *_: stub)
    drawn = draws.generate(view, LINE[1].id)
    assert [q if q is None else q.tolist() for q in given] == [None, pytest.approx(wanted.tolist())]
    for values in drawn.values():
        assert (values.mean(), values.std()) == pytest.approx((0.4, 0.05), rel=0.05)
    assert set(draws.generate(view, LINE[0].id)) == {draws.FROM_PRIOR}


def test_most_used_categories_come_first(tmp_path, monkeypatch):
    spec = spec_of("greys", "cpvae", K=20)
    view = make(tmp_path, [spec])
    q = torch.arange(20.0) / 190
    asked = []

    def sample_component(c, n):
        asked.append(c)
        return torch.zeros(n, 36)

    stub = SimpleNamespace(sample_component=sample_component, categories=lambda x: q.expand(len(x), 20))
    monkeypatch.setattr(View, "model", lambda *_: stub)
    figure = categories.draw(view)
    assert asked == list(range(19, 3, -1))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][:2] == ["19: 10 %", "18: 9 %"]
    assert "the 16 most used of 20 categories" in " ".join(figure.axes[0].get_title().split())
    plt.close("all")


def test_tile_puts_images_where_they_belong():
    stack = np.random.default_rng(0).random((2, 3, 4, 5, 3))
    sheet = images.tile(stack)
    assert sheet.shape == (2 * 5 - 1, 3 * 6 - 1, 3)
    np.testing.assert_array_equal(sheet[5:9, 12:17], stack[1, 2])
    np.testing.assert_array_equal(sheet[4], 1.0)


def test_points_without_labels_have_no_legend(tmp_path, flat):
    figure = figures.draw("umap", make(tmp_path, CELLS, classes=1))
    assert not figure.legends
    plt.close("all")


def test_many_points_are_thinned_out(tmp_path, monkeypatch):
    view = make(tmp_path, CELLS)
    monkeypatch.setattr(scatter, "POINTS", 20)
    means, labels = scatter.codes(view, CELLS[1].id)
    assert [mean.shape for mean in means] == [(20, 2)] * 2
    assert len(labels) == 20
