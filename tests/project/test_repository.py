"""The repository itself: style, pins, and the direction of imports."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.project import ROOT

from mixvae import code
from mixvae.code import ROOMS
from mixvae.study.jobs import DATA_FILES, RUN_FILES

CHECKS = {
    "ruff check": ["-m", "ruff", "check", "."],
    "ruff format": ["-m", "ruff", "format", "--check", "."],
    "snakefmt": ["-m", "snakefmt", "--check", "Snakefile", "workflow"],
    "snakemake --lint": ["-m", "snakemake", "--lint"],
}
COMMON = ("errors", "files", "seeds", "progress", "interruption", "own", "code", "provenance", "cli")
"""What every room may use, and what uses no room."""
THIN = 40
"""Lines of a script: its arguments, one call, its exit code."""


@pytest.mark.parametrize("name", CHECKS)
def test_style(name):
    result = subprocess.run([sys.executable, *CHECKS[name]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_imports_point_one_way():
    level = {room: number for number, room in enumerate((*COMMON, *ROOMS))}
    for path in (ROOT / "src/mixvae").rglob("*.py"):
        own = path.relative_to(ROOT / "src/mixvae").with_suffix("").parts[0]
        if own == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            for other in imported(node) - {own}:
                assert other in COMMON if own in COMMON else level[other] < level[own], f"{path} imports {other}"


def imported(node: ast.AST) -> set[str]:
    """Return the rooms that an import statement names, or a text that begins with the library's name, as `import_module` takes it."""
    names = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert not node.level, "imports are absolute"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
        names = [node.value]
    return {name.split(".")[1] for name in names if name.startswith("mixvae.")}


RULES = ("study", *(rule for rules in (DATA_FILES, RUN_FILES) for rule in rules), "tabulate", "figures", "report", "export")


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[Path]]:
    """What each rule loads, by Python's own word: its script, then what it imports late, by executing all imports of its code.

    The rules are forks of one process, which has loaded the libraries for them.
    """
    program = """
import ast, importlib, os, runpy, sys
import pandas, scanpy, seaborn, sklearn.cluster, torch, zuko
assert not [name for name in sys.modules if name.split(".")[0] == "mixvae"]
for rule in sys.argv[2:]:
    if os.fork():
        assert os.wait()[1] == 0, rule
        continue
    from mixvae.code import code_files
    sys.argv = [f"{sys.argv[1]}/{rule}.py", "--help"]
    try:
        runpy.run_path(sys.argv[0])
    except SystemExit:
        pass
    for file in code_files(rule):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("mixvae"):
                importlib.import_module(node.module)
    files = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "mixvae"]
    print("LOADED", rule, *files, flush=True)
    os._exit(0)
"""
    command = [sys.executable, "-c", program, str(ROOT / "scripts"), *RULES[1:]]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    lines = [line.split()[1:] for line in said if line.startswith("LOADED ")]
    return {rule: {Path(file) for file in files} for rule, *files in lines}


@pytest.mark.parametrize("rule", RULES[1:])
def test_python_imports_no_code_that_a_digest_leaves_out(rule, loaded):
    assert ROOT / "src/mixvae/cli.py" in loaded[rule]
    assert loaded[rule] <= set(code.code_files(rule))


@pytest.mark.parametrize(
    ("changed", "stale"),
    {
        "study/run.py": set(RULES),
        "data/mnist.py": set(RULES) - {"study"},
        "distributions/priors.py": set(RULES) - {"study", "download", "prepare"},
        "fitting/checkpoint.py": set(RULES) - {"study", "download", "prepare"},
        "fitting/rules.py": {"train"},
        "measuring/evaluation.py": {"evaluate", "bracket", "report", "export"},
        "measuring/rule_evaluate.py": {"evaluate"},
        "measuring/annealing.py": {"bracket"},
        "measuring/labels.py": {"latents"},
        "measuring/recording.py": {"evaluate", "bracket", "latents"},
        "summary/published.py": {"tabulate", "figures", "report", "export"},
        "review/report/page.py": {"report", "export"},
        "study/rules.py": {"study"},
        "seeds.py": set(RULES) - {"study", "download", "prepare"},
        "cluster/head.py": set(),
    }.items(),
)
def test_a_changed_sentence_makes_stale_what_imports_it(changed, stale, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "ROOT", tmp_path)
    before = digests()
    with (tmp_path / "src/mixvae" / changed).open("a") as file:
        file.write("# one more sentence\n")
    after = digests()
    assert {rule for rule in RULES if before[rule] != after[rule]} == stale


def digests():
    code.code_files.cache_clear()
    code.code_digest.cache_clear()
    found = {rule: code.code_digest(rule) for rule in RULES}
    code.code_files.cache_clear()
    code.code_digest.cache_clear()
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.stem)
def test_scripts_are_arguments_and_one_call(path):
    text = path.read_text()
    assert len(text.splitlines()) <= THIN
    functions = [node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert functions == ["main"]
    loops = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.For | ast.While | ast.With | ast.Try | ast.comprehension)
    ]
    assert len(loops) <= (path.stem == "train"), "the signals of a training are listened to around its call"


def test_every_module_has_its_room():
    there = {path.stem for path in (ROOT / "src/mixvae").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert there == {"__init__", *COMMON, *ROOMS}


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_says_in_a_sentence_what_it_is_for(room):
    text = ast.get_docstring(ast.parse((ROOT / f"src/mixvae/{room}/__init__.py").read_text()))
    assert text
    assert text.endswith(".")
    assert "\n\n" not in text


def test_the_workflow_imports_nothing_but_the_configuration():
    """At parse time, on which every job pays; inside functions it may."""
    for path in [ROOT / "Snakefile", *(ROOT / "workflow").rglob("*.smk")]:
        for line in path.read_text().splitlines():
            if line.startswith(("import mixvae", "from mixvae")):
                assert line.startswith(("from mixvae import study", "from mixvae.study", "from mixvae.errors")), (
                    f"{path}: {line}"
                )


def test_conda_environment_has_the_pins_of_the_lock():
    lock = [line for line in (ROOT / "envs/requirements.lock").read_text().splitlines() if not line.startswith("#")]
    conda = yaml.safe_load((ROOT / "envs/environment.yaml").read_text())["dependencies"][-1]["pip"]
    assert conda == lock
    assert {"torch==2.13.0", "torchvision==0.28.0"} <= set(lock)
    assert all("==" in line for line in lock)


def test_installed_packages_are_the_pinned_ones():
    from importlib.metadata import version

    for line in (ROOT / "envs/requirements.lock").read_text().splitlines():
        if not line.startswith("#"):
            name, pinned = line.split("==")
            assert version(name).split("+")[0] == pinned, name


def test_ci_runs_the_readme_test_command():
    assert "make test" in (ROOT / ".ci/run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()


def test_every_study_is_in_the_readme_or_the_config_readme():
    text = (ROOT / "README.md").read_text() + (ROOT / "config/README.md").read_text()
    for path in Path(ROOT / "config").glob("*.yaml"):
        assert path.stem in text, path
