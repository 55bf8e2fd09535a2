"""Puts the report together: collects everything that the template page.html shows, and fills it in."""

import hashlib
import importlib.resources
import re
import shlex
from base64 import b64encode
from typing import Any, NamedTuple

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mixvae.code import ROOT
from mixvae.review.audit.findings import FAILURE, WARNING, Findings
from mixvae.review.audit.reading import Unreadable, read_bytes, read_rows
from mixvae.review.audit.subject import Subject
from mixvae.review.audit.verdict import COUNTS, summary, verdict
from mixvae.review.lineage.cells import Values, read_values
from mixvae.review.lineage.records import command_of, record_of
from mixvae.review.report.cost import costs
from mixvae.review.report.grids import shown
from mixvae.review.report.statements import statements
from mixvae.study import outputs
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

LARGEST_FIGURE = 1 << 24
"""Bytes."""


class Figure(NamedTuple):
    """A figure as a data URL, or why it cannot be shown."""

    name: str
    kind: str
    dataset: str
    data: str
    problem: str


def html(subject: Subject, audited: Findings) -> str:
    """Return the report of a study as the audit has read it, with what the audit has found."""
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
    jobs: dict[str, dict[str, Any]] = {}  # by the name of a run or data set, or of the study, and by rule
    for job in subject.jobs:
        jobs.setdefault(job.name, {})[job.rule] = record_of(subject, job), command_of(subject, job)
    return environment.get_template("page.html").render(
        study=subject.study,
        script=Markup(script),
        script_digest=b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=Markup(style),
        options=ALL,
        verdict=verdict(audited),
        counts=summary(audited),
        columns=COUNTS,
        failures=audited.of(FAILURE),
        warnings=audited.of(WARNING),
        most=SHOWN,
        made=made(subject),
        statements=statements(subject),
        tables=shown(subject, values),
        figures=figures(subject),
        jobs=jobs,
        titles={kind: table.title for kind, table in TABLES.items()},
        captions={kind: captions(kind) for kind in ("tables", "figures")},
        values=values,
        costs=costs(subject),
        missing=subject.missing,
        skipped=skipped,
        problem=problem,
        citation=yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8")),
    )


def number(value: Any, digits: int = 1) -> str:
    """Return a number as text, "" if there is none."""
    return "" if pd.isna(value) else f"{value:,.{digits}f}"


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


def figures(subject: Subject) -> list[Figure]:
    """Return all figures that a study has."""
    found = []
    for name in outputs.figures(subject.study.runs.values(), subject.study.datasets):
        kind, _, dataset = name.partition("_")
        data = problem = ""
        try:
            content = read_bytes(subject.folder / f"figures/{name}.png", subject.results, LARGEST_FIGURE)
            if not content.startswith(b"\x89PNG\r\n\x1a\n"):
                raise Unreadable("not a PNG")
            data = f"data:image/png;base64,{b64encode(content).decode()}"
        except Unreadable as reason:
            problem = str(reason)
        found.append(Figure(name, kind, dataset, data, problem))
    return found


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
