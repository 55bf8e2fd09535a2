"""Writes the outcome of an audit: in one line, as a table of rules, and as audit.json and audit.md."""

from collections.abc import Mapping
from pathlib import Path

from mixvae.files import atomic, write_json
from mixvae.review.audit.complete import NO_CONFIG
from mixvae.review.audit.findings import FAILURE, LEVELS, WARNING, Finding, Findings

COUNTS = ("checked", "passed", "warned", "failed")
TITLES = {"failure": "Failures", "warning": "Warnings", "note": "Notes"}
ESCAPED = str.maketrans({"\\": "&#92;", "`": "&#96;", "|": "&#124;", "<": "&lt;", "[": "\\[", "]": "\\]"})
"""Characters that a Markdown table would not show as they are, and how to write them there."""
SHOWN = 500
"""Findings of a level on the page; audit.json has all."""


def summary(findings: Findings) -> dict[str, dict[str, int]]:
    """Return by rule how many of its jobs were checked, passed, warned and failed; the worst finding of a job counts."""
    worst = dict.fromkeys(findings.jobs, "passed")
    worst |= {(finding.rule, finding.run): "warned" for finding in findings.of(WARNING)}
    worst |= {(finding.rule, finding.run): "failed" for finding in findings.of(FAILURE)}
    result: dict[str, dict[str, int]] = {}
    for (rule, _), outcome in worst.items():
        counts = result.setdefault(rule, dict.fromkeys(COUNTS, 0))
        counts["checked"] += 1
        counts[outcome] += 1
    return result


def table(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return the summary as lines of text."""
    width = max(map(len, ["rule", *counts]))
    lines = [f"{'rule':{width}}" + "".join(f"{name:>9}" for name in COUNTS)]
    return lines + [f"{rule:{width}}" + "".join(f"{row[name]:9}" for name in COUNTS) for rule, row in counts.items()]


def line(finding: Finding) -> str:
    """Return a finding as one line."""
    return f"{finding.level}: {finding.file}: {finding.message} ({finding.check}; rule {finding.rule} of {finding.run})"


def markdown(study: str, findings: Findings) -> str:
    """Return audit.md."""
    counts = summary(findings)
    page = [f"# Audit of {study}", "", verdict(findings), "", f"| rule | {' | '.join(COUNTS)} |", "|---" * 5 + "|"]
    page += [f"| {rule} | {' | '.join(str(row[name]) for name in COUNTS)} |" for rule, row in counts.items()]
    for level in LEVELS:
        found = findings.of(level)
        if not found:
            continue
        page += ["", f"## {TITLES[level]}", "", "| check | rule | run | file | what |", "|---|---|---|---|---|"]
        page += [f"| {' | '.join(text.translate(ESCAPED) for text in finding[1:])} |" for finding in found[:SHOWN]]
        if len(found) > SHOWN:
            page += ["", f"{len(found) - SHOWN} more in audit.json."]
    return "\n".join(page) + "\n"


def verdict(findings: Findings) -> str:
    """Return the outcome in one line."""
    failed, warned = len(findings.of(FAILURE)), len(findings.of(WARNING))
    if failed:
        return f"failed: {failed} failures, {warned} warnings"
    complete = "complete by study.json" if any(finding.message == NO_CONFIG for finding in findings.all) else "complete"
    return f"passed: {complete}, unchanged, consistent and plausible; {warned} warnings"


def save(folder: Path, findings: Findings) -> None:
    """Write audit.json and audit.md into a study's folder."""
    content = {"study": folder.name, "passed": not findings.of(FAILURE), "rules": summary(findings)}
    write_json(folder / "audit.json", content | {"findings": [finding._asdict() for finding in findings.all]})
    with atomic(folder / "audit.md") as temporary:
        temporary.write_text(markdown(folder.name, findings), encoding="utf-8")
