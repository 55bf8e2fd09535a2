"""Configs: what they expand to, and the line a mistake gets."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from support.project import ROOT

from mixvae.errors import UserError
from mixvae.study import catalogue, expand, find_config, load, parse_run, parse_run_json

STUDIES = sorted(path for path in (ROOT / "config").glob("*.yaml") if path.stem != "datasets")
BASE = yaml.safe_load("""
study: test
runs:
  - dataset: digits
    likelihood: bernoulli
    K: [1, 2]
    prior: [standard, {name: vamp, components: 10}]
    seed: [0, 1]
""")


@pytest.fixture
def own_files(tmp_path, monkeypatch):
    """Stand-ins for the files that studies name beside the catalogue, in a data mirror; the working directory is another."""
    monkeypatch.setenv("MIXVAE_DATA", str(tmp_path / "mirror"))
    monkeypatch.chdir(tmp_path)
    for name, shape in (("omniglot/omniglot28", (28, 28)), ("cifar10/cifar10_subset", (32, 32, 3))):
        path = tmp_path / "mirror" / f"{name}.npz"
        path.parent.mkdir(parents=True)
        parts = {f"x_{part}": np.zeros((4, *shape), np.uint8) for part in ("train", "valid", "test")}
        np.savez(path, **parts, **{f"y_{part}": np.arange(4) for part in ("train", "valid", "test")})


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_expands(path, own_files):
    expansion = load(path)
    assert expansion.runs
    assert expansion.study.study == path.stem


def test_demo_is_the_grid_it_promises():
    specs = load(ROOT / "config/demo.yaml").runs.values()
    grid = {(s.dataset, s.K, s.prior.name, s.flow.name, s.seed) for s in specs if s.model == "vae"}
    digits = {("digits", K, p, f, s) for K in (1, 2, 4) for p in ("standard", "vamp") for f in ("none", "iaf") for s in (0, 1)}
    cells = {("pbmc68k_reduced", K, p, "none", s) for K in (1, 2, 4) for p in ("standard", "vamp") for s in (0, 1)}
    assert grid == digits | cells
    assert {s.dataset for s in specs if s.model == "constant"} == {"digits", "pbmc68k_reduced"}


def test_mnist_study_has_the_papers_hyperparameters():
    spec = next(s for s in load(ROOT / "config/mnist.yaml").runs.values() if s.flow.name == "iaf" and s.prior.name == "vamp")
    assert (spec.latent, spec.encoder.hidden, spec.decoder.hidden) == (40, (300, 300), (300, 300))
    assert spec.encoder.activation == "gated"
    training = spec.training
    assert (training.learning_rate, training.batch_size, training.epochs) == (5e-4, 100, 4000)
    assert (training.warmup, training.patience) == (100, 100)
    assert (spec.evaluation.samples, spec.prior.components, spec.flow.steps, spec.flow.hidden) == (5000, 500, 2, (320, 320))


def test_id_is_a_slug_and_a_digest_of_the_canonical_spec():
    expansion = expand(BASE, "x")
    assert len(expansion.runs) == 8 + 1
    run, spec = next(iter(expansion.runs.items()))
    assert run.startswith("digits-vae-K1-standard-none-s0-")
    assert len(run.rsplit("-", 1)[1]) == 8
    assert parse_run_json(spec.canonical()) == spec
    assert parse_run(json.loads(spec.canonical())).id == run


def test_order_of_keys_and_spelt_out_defaults_do_not_change_a_run():
    short = parse_run(
        {"dataset": "digits", "model": "vae", "likelihood": "bernoulli", "K": 2, "training": {"learning_rate": "5e-4"}}
    )
    long = parse_run(dict(reversed(json.loads(short.canonical()).items())))
    assert short.id == long.id
    assert parse_run({**json.loads(short.canonical()), "K": 3}).id != short.id


def test_an_option_that_came_later_does_not_change_the_id_of_runs_that_do_not_use_it():
    run = {"dataset": "digits", "model": "vae", "likelihood": "bernoulli", "K": 2, "flow": "iaf"}
    plain, spelt = parse_run(run), parse_run({**run, "training": {"flip": False}, "flow": {"name": "iaf", "order": "natural"}})
    assert plain.id == spelt.id
    assert "flip" not in plain.canonical()
    used = [parse_run({**run, "training": {"flip": True}}), parse_run({**run, "flow": {"name": "iaf", "order": "alternating"}})]
    assert len({plain.id, *(spec.id for spec in used)}) == 3
    assert [parse_run_json(spec.canonical()) for spec in used] == used


def test_an_id_depends_on_the_training_alone():
    spec = parse_run({"dataset": "digits", "model": "vae", "likelihood": "bernoulli", "K": 2})
    for settings in ({"samples": 50}, {"probe_points": 10}, {"points": 7}):
        other = spec.measured_by(settings)
        assert other != spec
        assert other.id == spec.id
        assert other.canonical() == spec.canonical()
        assert other.group != spec.group  # they stand in columns of their own
    assert "evaluation" not in spec.training_spec()
    assert parse_run_json(spec.canonical()).measured_by(spec.evaluation.model_dump()) == spec
    assert spec.measured_by(None) == spec.measured_by({}) == spec


def test_a_measurement_depends_on_the_settings_of_its_rule_alone():
    spec = parse_run({"dataset": "digits", "model": "vae", "likelihood": "bernoulli", "K": 2})
    rules = ("evaluate", "latents")
    assert spec.measuring("evaluate") == {"samples": 5000, "points": None}
    assert spec.measuring("latents") == {"probe_points": 5000, "points": None}
    assert len({spec.measurement(rule) for rule in rules}) == 2
    for settings, changed in (
        ({"samples": 50}, ["evaluate"]),
        ({"probe_points": 10}, ["latents"]),
        ({"points": 7}, ["evaluate", "latents"]),
        ({"samples": 5000, "points": None}, []),
    ):
        other = spec.measured_by(settings)
        assert [rule for rule in rules if other.measurement(rule) != spec.measurement(rule)] == changed
        # a rule is given its own settings alone, and finds the same folder
        for rule in rules:
            assert spec.measured_by(other.measuring(rule)).measurement(rule) == other.measurement(rule)
    assert set().union(*spec.evaluation.of_rule.values()) == set(type(spec.evaluation).model_fields)
    another = spec.model_copy(update={"seed": 1, "K": 4})
    assert [another.measurement(rule) for rule in rules] == [spec.measurement(rule) for rule in rules]
    control = parse_run({"dataset": "digits", "model": "constant", "likelihood": "bernoulli"})
    assert control.measuring("evaluate") == {}


@pytest.mark.parametrize("settings", [{"sample": 50}, {"samples": "many"}, {"samples": 3}])
def test_settings_of_measuring_that_are_none_are_refused(settings):
    with pytest.raises(ValidationError):
        parse_run({"dataset": "digits", "model": "vae", "likelihood": "bernoulli", "K": 2}).measured_by(settings)


def test_two_ways_to_measure_a_run_in_one_study_are_refused_with_one_line():
    config = copy.deepcopy(BASE)
    config["runs"].append(config["runs"][0] | {"K": 2, "seed": 1, "evaluation": {"samples": 60}})
    with pytest.raises(UserError) as error:
        expand(config, "config/x.yaml")
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("config/x.yaml: ")
    assert re.search(
        r"run digits-vae-K2-standard-none-s1-[0-9a-f]{8} would be measured in two ways, .*samples=5000 .*samples=60 ", message
    )
    # said twice, it is one way
    config["runs"][1]["evaluation"] = {"samples": 5000}
    assert expand(config, "config/x.yaml").runs == expand(BASE, "config/x.yaml").runs


def test_hyperparameters_of_one_prior_do_not_touch_runs_of_another():
    other = copy.deepcopy(BASE)
    other["runs"][0]["prior"][1]["components"] = 20
    a, b = expand(BASE, "x").runs, expand(other, "x").runs
    assert {run for run in a if "standard" in run} == {run for run in b if "standard" in run}
    assert not {run for run in a if "vamp" in run} & {run for run in b if "vamp" in run}


def test_senseless_combinations_are_left_out_with_the_reason():
    config = copy.deepcopy(BASE)
    config["runs"][0] |= {"flow": ["none", "iaf"], "latent": [1, 2], "likelihood": ["bernoulli", "zinb"]}
    expansion = expand(config, "x")
    reasons = {reason for _, reason in expansion.skipped}
    assert any("two latent dimensions" in reason for reason in reasons)
    assert any("zinb does not fit digits" in reason for reason in reasons)
    assert all(s.likelihood.name == "bernoulli" for s in expansion.runs.values())


UNFIT = [
    ({"likelihood": "logistics"}, "likelihood logistics does not fit digits, whose kind is grey_image"),
    ({"dataset": "cifar10", "likelihood": "bernoulli"}, "likelihood bernoulli does not fit cifar10, whose kind is colour_image"),
    ({"dataset": "cortex", "likelihood": "gaussian"}, "likelihood gaussian does not fit cortex, whose kind is counts"),
    ({"dataset": "ring", "likelihood": "gaussian"}, "likelihood gaussian does not fit ring, whose kind is density"),
    ({"dataset": "toy1d", "likelihood": "gaussian", "encoder": "conv"}, "a conv encoder needs images, and toy1d holds real"),
    ({"dataset": "cortex", "likelihood": "nb", "decoder": "pixelcnn"}, "a pixelcnn decoder needs images, and cortex holds counts"),
    ({"likelihood": "gaussian", "decoder": "pixelcnn"}, "so it takes likelihood bernoulli, not gaussian"),
    ({"model": "toy", "likelihood": "density"}, "likelihood density does not fit digits, whose kind is grey_image"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "reason"), UNFIT, ids=[" ".join(map(str, changes.values())) for changes, _ in UNFIT])
def test_what_does_not_fit_the_data_is_left_out_with_the_reason(changes, reason):
    base = {"dataset": "digits", "model": "vae", "K": 1}
    spec = parse_run({**base, **changes})
    assert reason in spec.skip_reason(catalogue()[spec.dataset])


EVERY_MODEL = {
    "vae": {},
    "hvae": {"lower": {"name": "conv"}, "conditional": {"hidden": [5]}},
    "mvae": {"likelihood": {"name": "gaussian", "std": 0.2}, "dependence": "pairs"},
    "cpvae": {"temperature": 0.3},
    "gmvae": {"free_nats": 0.5},
    "gmvae_shu": {},
    "toy": {"dataset": "ring", "likelihood": "density", "flow": "coupling"},
    "constant": {"K": 1},
}


def test_every_model_round_trips_and_has_an_id_and_a_class():
    from importlib import import_module

    from mixvae.study.run import MODELS

    assert EVERY_MODEL.keys() == MODELS.keys()
    for model, changes in EVERY_MODEL.items():
        spec = parse_run({"model": model, "dataset": "digits", "likelihood": "bernoulli", "K": 2, **changes})
        assert parse_run_json(spec.canonical()) == spec
        assert spec.id.startswith(f"{spec.dataset}-{model}-K{spec.K}-{spec.prior.name}-{spec.flow.name}-s0-")
        assert hasattr(import_module(f"mixvae.models.{model}"), type(spec).__name__)


def change(**keys):
    return lambda config: config["runs"][0].update(keys)


MISTAKES = {
    "misspelt key": (change(priors="standard"), r"runs\[0\].priors: unknown key 'priors' \(did you mean 'prior'\?\)"),
    "misspelt nested key": (change(training={"epoch": 3}), r"runs\[0\].training.epoch: unknown key.*did you mean 'epochs'"),
    "misspelt key in a list": (
        change(prior=["standard", {"name": "vamp", "component": 3}]), r"runs\[0\].prior\[1\].component: .*'components'"),
    "misspelt top key": (lambda c: c.update(studdy=1), r"studdy: unknown key 'studdy' \(did you mean 'study'\?\)"),
    "unknown model": (change(model="vea"), r"runs\[0\].model: unknown model 'vea' \(did you mean 'vae'\?\)"),
    "unknown prior": (change(prior="vampp"), r"runs\[0\].prior: unknown prior 'vampp' \(did you mean 'vamp'\?\)"),
    "unknown data set": (change(dataset="mnits"), r"runs\[0\].dataset: unknown data set 'mnits' \(did you mean 'mnist'\?\)"),
    "unknown likelihood": (change(likelihood="bernouli"), r"runs\[0\].likelihood: unknown likelihood 'bernouli' \(did you mean 'bernoulli'\?\)"),
    "K = 0": (change(K=[1, 0]), r"runs\[0\].K\[1\]: found 0; .*greater than or equal to 1"),
    "string for a number": (change(K="four"), r"runs\[0\].K: found 'four'; .*integer"),
    "number in quotes": (change(K="4"), r"runs\[0\].K: found '4'; .*integer"),
    "boolean for a number": (change(K=True), r"runs\[0\].K: found True"),
    "fraction for an integer": (change(latent=1.5), r"runs\[0\].latent: found 1.5"),
    "nan": (change(training={"learning_rate": float("nan")}), r"training.learning_rate: found nan"),
    "negative rate": (change(training={"learning_rate": -1.0}), r"training.learning_rate: found -1.0; .*greater than 0"),
    "warm-up never ends": (change(training={"epochs": 3}), r"runs\[0\].training: warmup of 100 epochs never ends"),
    "empty list": (change(seed=[]), r"runs\[0\].seed: found \[\]"),
    "no runs": (lambda c: c.update(runs=[]), r"x.yaml: a study needs runs, or studies to include"),
    "missing key": (lambda c: c["runs"][0].pop("dataset"), r"runs\[0\].dataset: this key is required"),
    "reserved name": (lambda c: c.update(study="runs"), r"study: 'runs' is a folder of results/"),
    "bad gpu": (lambda c: c.update(gpu=2), r"gpu: unknown value 2"),
    "all senseless": (change(likelihood="zinb"), r"no combination makes sense"),
    "not a mapping": (lambda c: c.update(runs=[3]), r"runs\[0\]: found 3"),
    "narrow flow": (
        change(flow={"name": "iaf", "hidden": [8]}), r"runs\[0\]: flow.hidden: \[8\] is too narrow for latent: 40"),
    "misspelt key in a list beside a missing one": (
        lambda c: (c["runs"][0].pop("likelihood"), change(prior=[{"name": "vamp", "component": 3}])(c)),
        r"runs\[0\].prior\[0\].component: unknown key 'component'"),
    "misspelt required key": (
        lambda c: c["runs"][0].update(liklihood=c["runs"][0].pop("likelihood")), r"unknown key 'liklihood'.*'likelihood'"),
    "no flow layers": (change(flow={"name": "iaf", "hidden": []}), r"flow.hidden: \[\] is too narrow"),
    "number for a list": (change(encoder={"hidden": 64}), r"runs\[0\].encoder.hidden: found 64; input should be a list"),
    "list for a mapping": (lambda c: c["runs"][0].update(training=[[1]]), r"runs\[0\].training\[0\]: found \[1\]; .*a mapping"),
    "huge K": (change(K=10**9), r"runs\[0\].K: found 1000000000"),
    "misspelt key of a likelihood": (
        change(likelihood={"name": "gaussian", "sd": 0.1}), r"runs\[0\].likelihood.sd: unknown key 'sd' \(did you mean 'std'\?\)"),
    "unknown encoder": (change(encoder={"name": "convv"}), r"runs\[0\].encoder: unknown encoder 'convv' \(did you mean 'conv'"),
    "wrong convolution": (
        change(encoder={"name": "conv", "layers": [[4, 3]]}), r"runs\[0\].encoder.layers\[0\]\[2\]: this key is required"),
    "deconv of two codes": (change(model="hvae", decoder="deconv"), r"runs\[0\]: decoder: deconv takes one code"),
    "pixelcnn summed": (
        change(model="mvae", likelihood="gaussian", prior="standard", decoder="pixelcnn"), r"decoder: pixelcnn cannot be summed"),
    "conv encoder of a dense model": (
        change(model="cpvae", prior="conditional", encoder={"name": "conv"}), r"runs\[0\].encoder.name: unknown value 'conv'"),
    "vamp prior of a clustering model": (change(model="gmvae"), r"runs\[0\].prior\[0\].name: unknown value 'standard'"),
    "negative deviation": (change(likelihood={"name": "gaussian", "std": -0.1}), r"likelihood.std: found -0.1; .*greater than 0"),
    "few samples": (change(evaluation={"samples": 3}), r"runs\[0\].evaluation: samples: 3 is too few"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line_with_file_key_and_value(mistake):
    config = copy.deepcopy(BASE)
    spoil, expected = MISTAKES[mistake]
    spoil(config)
    with pytest.raises(UserError, match=expected) as error:
        expand(config, "config/x.yaml")
    assert str(error.value).startswith("config/x.yaml: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("study: a\n  runs: [", r"x.yaml: line 2, column"),
        ("study: a\nstudy: b\n", r"x.yaml: line 2, column 1: key 'study' stands here twice"),
        ("- 1\n", r"x.yaml: expected keys study"),
        ("", r"x.yaml: the file is empty; expected keys study"),
        ("? [a, b]\n: 1\n", r"x.yaml: line 1, column 3: \['a', 'b'\] cannot be a key"),
        ("study: \x00", r"x.yaml: not a readable YAML file"),
        ("!!python/object/apply:os.system ['true']", r"x.yaml: line 1, column 1: could not determine a constructor"),
    ],
)
def test_unreadable_yaml_gets_one_line(tmp_path, text, expected):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=expected) as error:
        load(path)
    assert "\n" not in str(error.value)


def test_yaml_merge_keys_work_and_a_missing_mirror_is_named(tmp_path):
    path = tmp_path / "x.yaml"
    block = "runs:\n  - &a {dataset: digits, likelihood: bernoulli, K: 1}\n  - {<<: *a, K: 2}\n"
    path.write_text("study: x\n" + block)
    assert len(load(path).runs) == 3
    path.write_text(f"study: x\ndata_mirror: {tmp_path}/gone\n" + block)
    with pytest.raises(UserError, match=r"data_mirror: .*gone: no such folder"):
        load(path)


def test_a_wrong_catalogue_entry_is_named(tmp_path, monkeypatch):
    from mixvae.study import catalogue as module

    path = tmp_path / "datasets.yaml"
    path.write_text((ROOT / "config/datasets.yaml").read_text().replace("title: MNIST", "titel: MNIST"))
    monkeypatch.setattr(sys.modules["mixvae.study.catalogue"], "PATH", path)
    with pytest.raises(UserError, match=r"config/datasets.yaml: mnist.titel: unknown key 'titel' \(did you mean 'title'\?\)"):
        module.__wrapped__()


def test_missing_config_names_the_nearest():
    with pytest.raises(UserError, match=r"no study 'dmeo' \(did you mean 'demo'\?\)"):
        find_config("dmeo", ROOT / "config")
    with pytest.raises(UserError, match=r"nowhere.yaml: no such config file"):
        find_config("nowhere.yaml", ROOT / "config")
    assert find_config("demo", ROOT / "config") == ROOT / "config/demo.yaml"


def test_the_catalogue_is_complete():
    for name, info in catalogue().items():
        assert (ROOT / f"src/mixvae/data/{name}.py").is_file()
        assert info.licence
        assert info.citation
        assert (info.levels is not None) == (info.kind in ("grey_image", "colour_image"))
        assert (info.genes is None) or info.kind == "counts"


def test_configuration_needs_neither_torch_nor_numpy(tmp_path):
    code = "import sys; import mixvae.study; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "src")}, cwd=Path("/")).returncode == 0


def test_studies_that_include_each_other_or_nothing_are_named(tmp_path, monkeypatch):
    import mixvae.study.config as module

    monkeypatch.setattr(module, "FOLDER", tmp_path)
    for name, content in {"ping": "include: [pong]", "pong": "include: [ping]", "empty": None}.items():
        (tmp_path / f"{name}.yaml").write_text(f"study: {name}\n{content}\n" if content else "")
    with pytest.raises(UserError, match="include: ping includes pong includes ping; remove one"):
        expand({"study": "x", "include": ["ping"]}, "x.yaml")
    with pytest.raises(UserError, match=r"x.yaml: include: .*empty.yaml: the file is empty"):
        expand({"study": "x", "include": ["empty"]}, "x.yaml")
    with pytest.raises(UserError, match=r"x.yaml: include: .*no study 'pingg' \(did you mean 'ping'"):
        expand({"study": "x", "include": ["pingg"]}, "x.yaml")
