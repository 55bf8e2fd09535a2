"""Puts the report together: collects everything that the template page.html shows, and fills it in."""

import base64
import hashlib
import importlib.resources
import re
import shlex
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mixvae.code import ROOT
from mixvae.review.audit.findings import FAILURE, WARNING, Findings
from mixvae.review.audit.reading import Unreadable, read_rows
from mixvae.review.audit.subject import Subject
from mixvae.review.audit.verdict import COUNTS, summary, verdict
from mixvae.review.lineage.cells import Values, read_values
from mixvae.review.lineage.records import Record, command_of, record_of
from mixvae.review.report.cost import costs
from mixvae.review.report.figures import figures
from mixvae.review.report.grids import shown
from mixvae.review.report.statements import statements
from mixvae.summary.tables import TABLES

CAPTIONS = ROOT / "workflow/report"
SKIPPED = ("combination", "reason")
SHOWN = 300
"""Findings of the audit, and rows of failures.csv and skipped.csv, that are shown; the files have all."""
ALL = {
    "paging": False,
    "order": [],
    "autoWidth": False,
    "layout": {"topStart": "search", "topEnd": "info", "bottomStart": None, "bottomEnd": None},
    "language": {
        "search": "Filter:",
        "searchPlaceholder": "words, in any column",
        "info": "_TOTAL_ rows",
        "infoEmpty": "no row",
        "infoFiltered": "of _MAX_",
        "zeroRecords": "No row has these words.",
        "emptyTable": "No rows.",
    },
}
"""Options of DataTables: rows keep the table's own order until a column is clicked, and none is hidden, so that links work."""

Jobs = dict[str, list[tuple[str, Record | None, list[str]]]]
"""The jobs of every run, of every data set and of the study: rule, record and command."""


def html(subject: Subject, audited: Findings) -> str:
    """Return the report of a study.

    Arguments:
        subject: The study as the audit has read it.
        audited: The findings of the audit.
    """
    environment = Environment(
        loader=PackageLoader("mixvae.review.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"number": number, "shell": shlex.join}
    script, style = _datatables()
    values: Values = {}
    problem = ""
    try:
        values = read_values(subject)
    except Unreadable as reason:
        problem = f"metrics.csv cannot be read: {reason}"
    try:
        skipped = read_rows(subject.folder / "skipped.csv", subject.results, SKIPPED)
    except Unreadable as reason:
        skipped = [dict(zip(SKIPPED, (f"skipped.csv cannot be read: {reason}", ""), strict=True))]
    jobs: Jobs = {}
    for job in subject.jobs:
        jobs.setdefault(job.name, []).append((job.rule, record_of(subject, job), command_of(subject, job)))
    tables, told, pictures = shown(subject, values), statements(subject), figures(subject)
    return environment.get_template("page.html").render(
        study=subject.study,
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=Markup(style),
        options=ALL,
        verdict=verdict(audited),
        failed=bool(audited.of(FAILURE)),
        counts=summary(audited),
        columns=COUNTS,
        failures=audited.of(FAILURE),
        warnings=audited.of(WARNING),
        most=SHOWN,
        made=made(subject),
        datasets=[
            {
                "name": name,
                "info": info,
                "statements": told.get(name, []),
                "tables": [table for table in tables if table.dataset == name],
                "figures": [figure for figure in pictures if figure.dataset == name],
                "jobs": jobs[name],
            }
            for name, info in subject.study.datasets.items()
        ],
        titles={kind: table.title for kind, table in TABLES.items()},
        captions={kind: captions(kind) for kind in ("tables", "figures")},
        lineages=[(table, lineage) for table in tables for lineage in table.lineages],
        runs=runs(subject, jobs, values),
        study_jobs=jobs[subject.study.name],
        costs=costs(subject),
        missing=list(subject.missing.values()),
        skipped=skipped,
        problem=problem,
        citation=yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8")),
    )


def number(value: Any, digits: int = 1) -> str:
    """Return a number as text, "" if there is none."""
    return "" if value is None or pd.isna(value) else f"{value:,.{digits}f}"


def captions(kind: str) -> dict[str, str]:
    """Return the caption of every kind of "tables" or "figures"; Snakemake's own report has the same."""
    return {path.stem: path.read_text(encoding="utf-8").strip() for path in sorted((CAPTIONS / kind).glob("*.rst"))}


def made(subject: Subject) -> dict[str, list[str]]:
    """Return how, where and when a study was made: the different values of every fact."""
    found = [record for job in subject.jobs if (record := record_of(subject, job))]
    packages = [facts.get("packages") for facts in subject.facts.values()]
    starts = sorted(record.start for record in found)
    texts = {
        "begun": starts[:1],
        "last job": starts[-1:],
        "commit": [record.commit for record in found],
        "code": [record.code for record in found],
        "python": [str(facts.get("python")) for facts in subject.facts.values()],
        "torch": [str(versions.get("torch")) for versions in packages if isinstance(versions, dict)],
        "platform": [str(facts.get("platform")) for facts in subject.facts.values()],
        "host": [record.host for record in found],
        "device": [record.device for record in found],
    }
    return {name: list(dict.fromkeys(values)) for name, values in texts.items()}


def runs(subject: Subject, jobs: Jobs, values: Values) -> list[dict[str, Any]]:
    """Return the facts about every run that the template shows."""
    rows = []
    for run, spec in subject.study.runs.items():
        trained = next(found for rule, found, _ in jobs[run] if rule == "train")
        rows.append(
            {
                "run": run,
                "spec": spec,
                "jobs": jobs[run],
                "missing": run in subject.missing,
                "epochs": values.get("epochs", {}).get(run, (None,))[0],
                "stopped": values.get("stopped_by_budget", {}).get(run, (0.0,))[0] == 1,
                "seconds": trained.seconds if trained else None,
                "memory": trained.peak_memory_mb if trained else None,
                "host": trained.host if trained else "",
            }
        )
    return rows


def _datatables() -> tuple[str, str]:
    """Return DataTables as one inline module, which is applied to every table of class "data", and its style.

    The bundle that itables ships is a module for import; its default export, DataTables, is called from its own end instead.
    """
    folder = importlib.resources.files("itables") / "html"
    bundle = (folder / "dt_bundle.js").read_text(encoding="utf-8")
    export = re.search(r"export\{[^}]*?(\w+) as default[^}]*\};?", bundle)
    start = (
        "const options = JSON.parse(document.getElementById('options').textContent);\n"
        f"for (const table of document.querySelectorAll('table.data')) new {export[1]}(table, options);\n"
    )
    # within a script, "<!--" would make the browser look for a second end of it
    script = (bundle[: export.start()] + bundle[export.end() :]).replace("<!--", "\\x3c!--") + start
    return f"\n{script}", (folder / "dt_bundle.css").read_text(encoding="utf-8")
