"""Parts of users' own files: what is wrong with one is a line, what is right goes into specs as data, and readers execute none."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import torch
from support.project import ROOT, refusal, run_here

from mixvae import own
from mixvae.errors import UserError
from mixvae.models import build
from mixvae.models.probe import probe
from mixvae.nets import encoders
from mixvae.study import catalogue, expand, looking, parse_run_json
from mixvae.study.config import read_study
from mixvae.study.looking import NotExecuted
from mixvae.study.run import MODELS

pytestmark = pytest.mark.slow  # every part is executed in a process of its own

EXAMPLES = ROOT / "docs/examples"
PRIOR = (EXAMPLES / "student_prior.py").read_text()
FLOW = (EXAMPLES / "stretch_flow.py").read_text()
LIKELIHOOD = (EXAMPLES / "laplace.py").read_text()
MODEL = (EXAMPLES / "beta_vae.py").read_text()
METRIC = (EXAMPLES / "spread.py").read_text()
BLOCK = {
    "dataset": "digits", "likelihood": "bernoulli", "K": 2, "latent": 2, "encoder": {"hidden": [6]}, "decoder": {"hidden": [6]},
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder of its own for copies and answers, and no file that an earlier test offered."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(own, "_offered", {})
    monkeypatch.setattr(own, "_loaded", {})
    return tmp_path


def runs(**changes):
    return expand({"study": "own", "runs": [BLOCK | changes]}, "own.yaml").runs.values()


def trained(**changes):
    (spec,) = (spec for spec in runs(**changes) if not spec.is_control)
    return spec


# --- check-part


@pytest.mark.parametrize("name", ["student_prior", "stretch_flow", "laplace", "beta_vae", "spread"])
def test_the_examples_pass(name, here):
    done = run_here("check_part", EXAMPLES / f"{name}.py", cwd=here)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith("all checks passed")


ENCODER = """
from torch import nn
from mixvae.nets.dense import BatchedLinear
from mixvae.study.kinds import EncoderSettings

class Settings(EncoderSettings):
    width: int = 4

class Module(nn.Module):
    def __init__(self, settings, K, shape):
        super().__init__()
        self.features = settings.width
        self.layer = BatchedLinear(K, shape[0] * shape[1] * shape[2], settings.width)

    def forward(self, x):
        return self.layer(x).tanh()
"""
DECODER = """
from torch import nn
from mixvae.study.kinds import DecoderSettings

class Settings(DecoderSettings):
    pass

class Module(nn.Module):
    def __init__(self, settings, latents, shape, outputs):
        super().__init__()
        self.width = outputs
        self.layer = nn.Linear(sum(latents), outputs)

    def forward(self, codes, x):
        return self.layer(codes[0])
"""


SHARED = """
import torch
from torch import nn
from mixvae.distributions.flows import Pushed, SharedFlow
from mixvae.distributions.gaussians import FlowedMixture
from mixvae.study.kinds import FlowSettings

class Settings(FlowSettings):
    pass

class Module(SharedFlow):
    def __init__(self, K, latent):
        super().__init__(K, latent)
        self.shift = nn.Parameter(torch.zeros(latent))

    def push(self, z):
        return Pushed(z + self.shift, z[None], (0 * (z + self.shift)).sum(-1)[None])

    def inverse(self, z):
        return z - self.shift, torch.zeros(z.shape[:-1])
"""


@pytest.mark.parametrize("text", [ENCODER, DECODER, SHARED])
def test_networks_and_a_shared_flow_pass(text, here):
    (here / "net.py").write_text(text)
    done = run_here("check_part", "net.py", cwd=here)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_own_decoder_decodes_the_components_of_an_mvae(here):
    (here / "net.py").write_text(DECODER)
    spec = trained(model="mvae", likelihood="gaussian", decoder="net.py")
    own.offer(own.STORE)
    x = torch.rand(30, 64)
    model = build(spec, x, (1, 8, 8))
    model.objective(x[:5], 1.0, torch.randn(1, 1, 5, model.noise_size)).value.sum().backward()
    layers = [network.decoder.layer for network in model.decoders.layers.networks]
    assert [layer.weight.shape for layer in layers] == [(64, 2)] * 2
    assert not torch.equal(layers[0].weight, layers[1].weight)
    codes = torch.randn(3, 2, 5, 2)
    for k, layer in enumerate(layers):
        torch.testing.assert_close(model.decoders(codes)[:, k], layer(codes[:, k]))
        assert layer.weight.grad.abs().sum() > 0


def test_a_shared_flow_must_not_make_a_prior_that_cancels_it(here):
    wrong = "    def aggregate(self, mean, log_var, dtype):\n        return FlowedMixture(mean, log_var, self, dtype)\n"
    (here / "flow.py").write_text(SHARED + "\n" + wrong)
    done = run_here("check_part", "flow.py", cwd=here)
    assert "FAILED  aggregate: aggregate of a flow that all components share differs from the mixture of base" in done.stdout


def test_the_checks_stop_where_something_is_missing(here):
    (here / "flow.py").write_text(FLOW.replace("self.distinct, self.latent = K, latent", "self.latent = latent"))
    done = run_here("check_part", "flow.py", cwd=here)
    assert done.stdout.splitlines()[0].startswith("FAILED  what it offers: Module has no distinct; the parts of this kind have")
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "old", "new", "check", "said"),
    [
        (PRIOR, "return Independent(StudentT", "return 1.1 * Independent(StudentT", "shapes", "own.py, line 32, in forward: TypeError"),
        (PRIOR, ", scale), 1)", ", scale), 0)", "shapes", "log_prob of (L, K, B, Z) has shape (3, 2, 5, 2), expected (L, K, B) = (3, 2, 5)"),
        (PRIOR, "to(dtype)", "float()", "asked for float64", "asked for float64 it computes torch.float32"),
        (PRIOR, "return Independent(StudentT(self.df, torch.zeros_like(scale), scale), 1)",
         "self.found = Independent(StudentT(self.df, torch.zeros_like(scale), scale), 1)\n"
         "        right = self.found.log_prob\n        self.found.log_prob = lambda z: right(z) + 0.3\n        return self.found",
         "density against samples", "the density adds up to about 1.35"),
        (PRIOR, "self.log_scale = ", "self.unused = nn.Parameter(torch.zeros(2))\n        self.log_scale = ", "gradients",
         "parameter unused gets no gradient"),
        (PRIOR, "return 1\n", "return 0.5\n", "shapes", "gaussians(K) is 0.5, expected a number from 1"),
        (FLOW, "base, self.log_stretch.sum(-1)", "base, -self.log_stretch.sum(-1)", "determinant", "log|det| of component 1 and that of the"),
        (FLOW, "(-self.log_stretch).exp()", "(-self.log_stretch).exp() * 1.01", "inverse", "differ by"),
        (FLOW, "z * self.log_stretch.exp()", "(z - z.mean(2, keepdim=True)) * self.log_stretch.exp()", "points are independent", "alone and"),
        (LIKELIHOOD, "Laplace(h,", "Laplace(0.5 * (h + x),", "density against samples", "the density adds up to about"),
        (LIKELIHOOD, "x.median(0).values", "x", "control", "constant of (N, D) has shape (50, 2), expected (P) = (2,)"),
        (MODEL, "return super().objective(x, self.beta * kl_weight, noise)",
         "found = super().objective(x, 1.0, noise)\n        return found._replace(value=found.value.mean())", "shapes",
         "objective(.).value has shape (), expected (B) = (5,)"),
        (MODEL, "    def objective", "    def log_terms(self, x, posterior, prior, noise):\n"
         "        found = super().log_terms(x, posterior, prior, noise)\n"
         "        return found._replace(log_prior=found.log_prior + 0.2)\n\n    def objective", "likelihoods add up to 1", "with K = 1, p(x) adds up to 1.2"),
        (PRIOR, "latent: int, df: float)", "latent: int, freedom: float)", "what it offers",
         "own.py: Module does not take the arguments of docs/extending.md: missing a required argument: 'freedom'"),
        (ENCODER, "self.layer(x)", "self.layer(x.view(5, -1))", "inputs of each component (K, B, D)", "own.py, line 16, in forward: RuntimeError"),
        (METRIC, 'return {"spread": (', 'return {"sprawl": (', "metrics of its own",
         "own: extra_metrics of Module gives sprawl, but that of Settings names spread"),
        (METRIC, ".item()", "", "metrics of its own", "own: extra_metrics: spread is (tensor("),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_line(text, old, new, check, said, here):
    assert old in text
    (here / "own.py").write_text(text.replace(old, new))
    done = run_here("check_part", "own.py", cwd=here)
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert any(line.startswith(f"FAILED  {check}: ") and said in line for line in lines), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "old", "new", "said"),
    [
        (METRIC, "", "", None),
        (MODEL, "    def objective", "    def log_terms(self, x, posterior, prior, noise):\n"
         "        found = super().log_terms(x, posterior, prior, noise)\n"
         "        return found._replace(log_prior=found.log_prior / 0)\n\n    def objective", "log-density log_prior is -inf at a sample before training"),
        (MODEL, "    def objective", "    def log_terms(self, x, posterior, prior, noise):\n"
         "        found = super().log_terms(x, posterior, prior, noise)\n"
         "        return found._replace(log_prior=found.log_prior[0])\n\n    def objective",
         "log-density log_prior has shape (2, 2), expected (L, K, B) = (3, 2, 2)"),
        (METRIC, 'return {"spread": (', 'return {"sprawl": (', "extra_metrics of Module gives sprawl, but that of Settings names spread"),
        (METRIC, ".item()", "", "extra_metrics: spread is (tensor("),
    ],
)  # fmt: skip
def test_a_model_is_tried_before_it_is_trained(text, old, new, said, here):
    assert old in text
    (here / "own.py").write_text(text.replace(old, new))
    spec = trained(model="own.py")
    own.offer(own.STORE)
    x = torch.rand(30, 64)
    model = build(spec, x, (1, 8, 8))
    before = torch.get_rng_state()
    if said is None:
        probe(model, spec, x, "grey_image")
        assert model.training
    else:
        with pytest.raises(UserError, match=re.escape(said)):
            probe(model, spec, x, "grey_image")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import nothing_of_the_kind\nclass Settings: pass\nclass Module: pass",
            "own.py, line 1, in <module>: ModuleNotFoundError: No module named 'nothing_of_the_kind'",
        ),
        ("x = 1\nclass", "own.py, line 2: SyntaxError: invalid syntax"),
        (PRIOR.replace("class Module", "class Prior"), "own.py: no class Module; the file of a part has Settings and Module"),
        ("class Settings: pass\nclass Module: pass", "own.py: Settings derive from no kind of part"),
        (LIKELIHOOD.replace('    measure = "real numbers"\n', ""), "own.py: Settings do not say measure"),
    ],
)
def test_a_file_that_is_no_part(text, said, here):
    (here / "own.py").write_text(text)
    assert said in refusal("check_part", "own.py", cwd=here)


# --- in a config


def refused(**changes):
    with pytest.raises(UserError) as caught:
        runs(**changes)
    (line,) = str(caught.value).splitlines()
    return line


def test_mistakes_in_a_config_are_a_line(here):
    (here / "student.py").write_text(PRIOR)
    (here / "vamp.py").write_text(PRIOR)
    (here / "my-prior.py").write_text(PRIOR)
    (here / "flow.py").write_text(FLOW)
    (here / "broken.py").write_text(PRIOR.replace("PositiveReal = 5.0", "PositiveReal = undefined"))
    line = refused(prior={"path": "studemt.py"})
    assert line.startswith("own.yaml: runs[0].prior: studemt.py: no such file")
    assert "did you mean 'student.py'?" in line
    assert "runs[0].prior" in (line := refused(prior=["standard", {"path": "student.py", "dof": 4}]))
    assert "student.py: dof: unknown setting of the part (did you mean 'df'?)" in line
    line = refused(prior={"path": "student.py", "df": [3, 4]})
    assert "df: found [3, 4]; input should be a valid number; a setting has one value, so name the part once for each" in line
    (here / "beta.py").write_text(MODEL)
    line = refused(model={"path": "beta.py", "betta": 2})
    assert "beta.py: betta: unknown setting of the part (did you mean 'beta'?)" in line
    line = refused(model={"path": "beta.py", "latent": 2})
    assert "beta.py: latent stands beside model, and not beside path: it is a setting of every model" in line
    line = refused(model="beta.py", evaluation={"samples": 10})
    assert line.startswith("own.yaml: runs[0].evaluation: samples: 10 is too few")
    assert "df: found -1; input should be greater than 0" in refused(prior={"path": "student.py", "df": -1})
    assert "the library has prior vamp; rename the file" in refused(prior={"path": "vamp.py"})
    assert "my-prior.py: the name of a part's file has letters, digits and _" in refused(prior="my-prior.py")
    line = refused(prior={"path": "flow.py"})
    assert "as prior, its Settings must derive from mixvae.study.kinds.PriorSettings; they are of kind flow" in line
    assert "broken.py, line 14, in Settings: NameError: name 'undefined' is not defined" in refused(prior="broken.py")
    assert "prior: the own part student cannot stand here" in refused(model="cpvae", prior={"path": "student.py"})
    (here / "deadly.py").write_text("import os\nos._exit(3)\nclass Settings: pass\nclass Module: pass\n")
    assert "deadly.py: executing it ended its process (exit code 3)" in refused(prior="deadly.py")
    assert "unknown prior 'studnt'" in refused(prior="studnt")


def test_the_id_is_of_the_content_and_not_of_the_place(here):
    (here / "student.py").write_text(PRIOR)
    (here / "elsewhere").mkdir()
    (here / "elsewhere/student.py").write_text(PRIOR)
    spec = trained(prior={"path": "student.py", "df": 4})
    assert spec.id.startswith("digits-vae-K2-student-none-s0-")
    assert spec.prior.settings == {"df": 4.0}
    assert trained(prior={"path": "elsewhere/student.py", "df": 4}).id == spec.id
    assert trained(prior="student.py").id != spec.id
    (kept,) = spec.own_files
    assert (here / "results/parts" / kept).read_text() == PRIOR
    assert parse_run_json(spec.canonical()) == spec
    (here / "student.py").write_text(PRIOR + "# changed\n")
    assert trained(prior={"path": "student.py", "df": 4}).id != spec.id


def test_a_grid_of_own_and_other_parts_and_what_is_skipped(here):
    for name, text in (("student", PRIOR), ("stretch", FLOW), ("beta", MODEL)):
        (here / f"{name}.py").write_text(text)
    block = BLOCK | {
        "model": ["vae", {"path": "beta.py", "beta": 2}],
        "K": [1, 2],
        "prior": ["standard", {"path": "student.py"}],
        "flow": ["none", {"path": "stretch.py"}],
    }
    found = expand({"study": "own", "runs": [block]}, "own.yaml")
    cells = {(run.model, run.K, run.prior.name, run.flow.name) for run in found.runs.values() if not run.is_control}
    expected = {
        (model, K, prior, flow)
        for model in ("vae", "beta") for K in (1, 2) for prior in ("standard", "student") for flow in ("none", "stretch")
        if (K, flow) != (1, "stretch")
    }  # fmt: skip
    assert cells == expected
    assert {reason for _, reason in found.skipped} == {"stretch_flow treats components differently, and K = 1 has one"}
    assert len(found.skipped) == 4


def test_lists_and_numbers_of_yaml_are_read_as_the_types_of_the_settings(here):
    (here / "net.py").write_text(
        ENCODER.replace("width: int = 4", "width: int = 4\n    hidden: tuple[int, ...] | None = None\n    rate: float = 1")
    )
    spec = trained(encoder={"path": "net.py", "hidden": [5, 6], "rate": 2})
    assert spec.encoder.settings == {"width": 4, "hidden": [5, 6], "rate": 2.0}
    own.offer(own.STORE)
    network, features = encoders.features(spec.encoder, 2, (1, 8, 8))
    assert features == network.features == 4
    assert "net.py: hidden: found 5; input should be a list" in refused(encoder={"path": "net.py", "hidden": 5})


@pytest.mark.parametrize("name", sorted(MODELS.keys() - {"toy", "constant"}))
def test_a_model_may_derive_from_any_system(name, here):
    """Its facts and its initial weights are then those of the system."""
    system = MODELS[name].__name__
    (here / "mine.py").write_text(
        f"from mixvae.models.{name} import {system}\nfrom mixvae.study import systems\n"
        f"class Settings(systems.{system}):\n    more: float = 1.0\nclass Module({system}):\n    pass\n"
    )
    likelihood = {"likelihood": "gaussian" if name == "mvae" else "bernoulli"}
    mine, theirs = trained(model="mine.py", **likelihood), trained(model=name, **likelihood)
    for fact in (
        "has_codes",
        "categorises",
        "posterior_is_mixture",
        "components_are_models",
        "latent_units",
        "sampled_components",
    ):
        assert getattr(mine, fact) == getattr(theirs, fact), fact
    assert mine.extra_metrics("grey_image") == theirs.extra_metrics("grey_image")
    assert mine.judged_by(catalogue()["digits"]) == theirs.judged_by(catalogue()["digits"])
    own.offer(own.STORE)
    models = [build(spec, torch.rand(40, 64, generator=torch.Generator().manual_seed(0)), (1, 8, 8)) for spec in (mine, theirs)]
    assert type(models[0]).__name__ == "Module"
    weights, others = (model.state_dict() for model in models)
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[key], others[key]) for key in weights)


def test_a_file_is_executed_once(here, monkeypatch):
    (here / "beta.py").write_text(MODEL)
    first = trained(model={"path": "beta.py", "beta": 2})
    monkeypatch.setattr(subprocess, "Popen", None)
    assert trained(model={"path": "beta.py", "beta": 2}) == first
    assert first.settings == {"beta": 2.0}
    assert first.posterior_is_mixture
    assert first.latent_units == 2


def test_who_reads_results_executes_nothing(here):
    (here / "student.py").write_text(f"open({str(here / 'mark')!r}, 'w')\n{PRIOR}")
    config = {"study": "own", "runs": [BLOCK | {"prior": {"path": "student.py"}}]}
    with pytest.raises(NotExecuted, match=r"own\.yaml: runs\[0\]\.prior: .*student\.py: new or changed since make check"):
        expand(config, "own.yaml", execute=False)
    assert not (here / "mark").exists()
    assert not (here / "results").exists()
    known = expand(config, "own.yaml")
    (here / "mark").unlink()
    assert expand(config, "own.yaml", execute=False) == known
    assert not (here / "mark").exists()


def test_a_package_offers_a_part(here, monkeypatch):
    package, facts = here / "site/my_package", here / "site/my_package-1.0.dist-info"
    for folder in (package, facts):
        folder.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('a package is not imported')")
    (package / "student_prior.py").write_text(PRIOR)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[{looking.ENTRY_POINTS}]\nstudent = my_package.student_prior\n")
    monkeypatch.syspath_prepend(here / "site")
    assert trained(prior={"name": "student", "df": 3}).prior.settings == {"df": 3.0}
    assert trained(prior="student").id.startswith("digits-vae-K2-student-none-")


def test_the_study_of_the_examples_names_all_of_them():
    text = (EXAMPLES / "own.yaml").read_text()
    assert read_study(EXAMPLES / "own.yaml").study == "own"
    for path in EXAMPLES.glob("*.py"):
        assert f"docs/examples/{path.with_suffix('.npz' if path.stem == 'squares' else '.py').name}" in text
    for path in EXAMPLES.iterdir():
        assert path.suffix == ".npz" or path.name in (ROOT / "docs/extending.md").read_text()


def test_json_answers_hold_no_place(here):
    """What is remembered is of the content: a study that is copied elsewhere needs no file again."""
    (here / "student.py").write_text(PRIOR)
    trained(prior="student.py")
    assert str(here) not in json.dumps(json.loads(Path("results/parts/.looked.json").read_text()))
