"""Where a cell comes from: its runs, values, records and commands; and mistakes named in one line."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import run_script

from mixvae.errors import UserError
from mixvae.files import read_json, sha256
from mixvae.lineage import parse_row, trace

TABLE = "results/small/tables/ablation_digits.csv"


def test_a_cell_is_traced_to_runs_commands_and_data(small_study):
    result = run_script("trace", TABLE, "--row=nll_matched,K=2", "--column=standard+none", cwd=small_study)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    metrics = pd.read_csv(small_study / "results/small/metrics.csv")
    rows = metrics[(metrics.metric == "nll_matched") & (metrics.K == 2)]
    assert len(rows) == 2
    for row in rows.itertuples():
        assert any(line.startswith(f"seed {row.seed}: {row.value} ") and line.endswith(row.run) for line in lines)
        facts = read_json(small_study / f"results/runs/{row.run}/provenance/train.json")
        assert f"    {shlex.join(facts['command'])}" in lines
    assert any(
        facts["code_sha256"][:12] in line and facts["git"]["commit"][:12] in line and facts["host"] in line for line in lines
    )
    assert f"    sha256 {sha256(small_study / 'results/datasets/digits/data.npz')}  results/datasets/digits/data.npz" in lines
    assert f"mean of the seeds below: {rows.value.mean()}" in lines
    assert not any("seed" in line and "-K1-" in line for line in lines)


def test_a_printed_command_makes_the_same_weights(small_study, tmp_path):
    printed = run_script("trace", TABLE, "--row=-elbo,K=1", "--column=standard+none", cwd=small_study).stdout
    command = shlex.split(next(line for line in printed.splitlines() if "scripts/train.py" in line))
    place = command.index("--run") + 1
    run, command[place] = command[place], str(tmp_path / "again")
    subprocess.run([sys.executable, *command[1:]], cwd=small_study, check=True, capture_output=True)
    assert sha256(small_study / run / "model.safetensors") == sha256(tmp_path / "again/model.safetensors")


def test_differences_latent_metrics_and_comparisons_are_traced(small_study, monkeypatch):
    monkeypatch.chdir(small_study)
    tables = Path("results/small/tables")
    delta = "\n".join(trace(tables / "ablation_digits.csv", "-elbo,K=2", "standard+none delta"))
    assert delta.count("compared with: ") == 2
    latent = "\n".join(trace(tables / "latent_digits.csv", "metric=ari,K=1", "standard+none"))
    assert "mean of ari over 2 of 2 seeds" in latent
    assert "NOT" not in latent
    published = "\n".join(trace(tables / "published_digits.csv", "nll_miselbo,column=standard+none,K=2", "ours"))
    assert "over 2 of 2 seeds" in published
    assert "NOT" not in published
    difference = "\n".join(trace(tables / "comparisons_digits.csv", "-elbo,column=standard+none,K=2", "p_adjusted"))
    assert difference.count("compared with: ") == 2
    same = trace(tables / "comparisons_digits.csv", "-elbo,column=standard+none,K=2,against=1", "p_adjusted")
    assert "\n".join(same) == difference
    ranked = "\n".join(trace(tables / "ranking_digits.csv", "nll_matched,column=standard+none,K=1", "mean"))
    assert "mean of the seeds below" in ranked
    assert "NOT" not in ranked


def test_a_cell_that_its_runs_do_not_give_is_said(small_study, tmp_path):
    shutil.copytree(small_study / "results", tmp_path / "results")
    table = pd.read_csv(tmp_path / TABLE)
    table.loc[0, "standard+none"] -= 1
    table.to_csv(tmp_path / TABLE, index=False)
    lines = trace(tmp_path / TABLE, "-elbo,K=1", "standard+none")
    assert any("which is NOT what the table says" in line for line in lines)


@pytest.mark.parametrize(
    ("table", "row", "column", "message"),
    [
        (TABLE, "nl,K=2", "standard+none", "no row with metric=nl (did you mean 'nll'?)"),
        (TABLE, "nll,k=2", "standard+none", "found 'k=2', expected key=value"),
        (TABLE, "nll", "standard+none", "2 rows match; add K: 1, 2"),
        (TABLE, "nll,K=3", "standard+none", "no row with K=3 (valid: 1, 2)"),
        (TABLE, "nll,settings=x", "standard+none", "rows are not named by 'settings'"),
        (TABLE, "nll,K=2", "standard+non", "no column 'standard+non' (did you mean 'standard+none'?)"),
        (TABLE.replace("digits", "digit"), "nll,K=2", "x", "no such table (did you mean 'ablation_digits.csv'?)"),
    ],
)
def test_mistakes_are_named(small_study, table, row, column, message):
    with pytest.raises(UserError) as caught:
        trace(small_study / table, row, column)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("table", "column", "message"), [(TABLE, "", "COLUMN is empty"), ("", "x", "TABLE is empty"), (TABLE, "y", "no column 'y'")]
)
def test_mistakes_are_one_line(small_study, table, column, message):
    result = run_script("trace", table, "--row=nll,K=2", f"--column={column}", cwd=small_study)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_rows_are_read_as_documented():
    assert parse_row("nll,K=4") == {"metric": "nll", "K": "4"}
    assert parse_row("settings=a, b,metric=-elbo,K=4") == {"settings": "a, b", "metric": "-elbo", "K": "4"}
    with pytest.raises(UserError, match="did you mean 'metric'"):
        parse_row("metrik=nll,K=4")
