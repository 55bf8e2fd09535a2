"""The commands as a user types them: one line and an exit code for every mistake."""

import subprocess
import sys

import pytest
from support.project import ROOT, complaint, run_here, run_script


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("study: x\nruns: [{dataset: digits, likelihood: bernoulli, Kk: 3}]\n", "runs[0]"),
        ("study: x\nruns: [\n", "line 3, column 1"),
        ("study: x\nruns: [{dataset: digits, likelihood: bernoulli, K: 0}]\n", "runs[0].K: found 0"),
    ],
)
def test_check_and_ablation_name_the_mistake_in_one_line(tmp_path, text, expected):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    for script, options in (("check", []), ("ablation", ["--cores", "1"])):
        result = run_here(script, path, *options, cwd=ROOT)
        assert complaint(result).startswith(f"error: {path}: ")
        assert expected in result.stderr


def test_check_lists_runs_and_what_was_left_out():
    result = run_script("check", "smoke", cwd=ROOT)
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[-1].startswith("config/smoke.yaml: study smoke: 18 runs and 1 controls on digits; 6 skipped")
    assert sum(line.startswith("digits-") for line in lines) == 19
    assert sum(line.startswith("skipped: ") and "two latent dimensions" in line for line in lines) == 6


@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        ("check", ["dmeo"], "error: config/dmeo.yaml: no study 'dmeo' (did you mean 'demo'?)"),
        ("check", ["datasets"], "error: config/datasets.yaml: no study 'datasets'"),
        ("ablation", ["demo", "--cores", "1", "--profile", "slrum"], "error: workflow/profiles/slrum: no such profile"),
        ("evaluate", ["--run", "nowhere", "--data", "nowhere"], "error: nowhere/spec.json: no such file; train the run first"),
        ("ablation", ["demo", "--cores", "0"], "error: CORES: found '0', expected a number from 1 or all"),
        ("ablation", ["demo", "--cores", "abc"], "error: CORES: found 'abc'"),
        ("check", [""], "error: STUDY is empty"),
        ("train", ["--spec", "{}", "--data", "x", "--run", "y"], "error: --spec: "),
    ],
)
def test_scripts_end_with_one_line(script, arguments, expected):
    result = run_here(script, *arguments, cwd=ROOT)
    assert complaint(result).startswith(expected)


def test_files_of_an_earlier_version_of_a_study_are_removed(tmp_path):
    from mixvae.files import keep_only

    for name in ("ablation_a.md", "ablation_a.csv", "components_a.md"):
        (tmp_path / name).touch()
    keep_only(tmp_path, ["ablation_a"])
    assert {path.name for path in tmp_path.iterdir()} == {"ablation_a.md", "ablation_a.csv"}
    keep_only(tmp_path / "gone", [])


def test_a_reader_that_has_had_enough_is_no_mistake():
    command = f"{sys.executable} {ROOT}/scripts/check.py smoke | head -n 0"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (141, "")


@pytest.mark.parametrize("name", ["ablation", "plan", "check", "preflight"])
def test_a_command_that_only_reads_configs_starts_without_torch(name):
    program = """
import atexit, runpy, sys
atexit.register(lambda: print("torch" in sys.modules))
sys.argv = [sys.argv[1], "--help"]
runpy.run_path(sys.argv[0])
"""
    command = [sys.executable, "-c", program, str(ROOT / f"scripts/{name}.py")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1] == "False"
