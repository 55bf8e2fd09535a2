"""Check the results of a study: complete, unchanged since they were made, consistent and plausible. Exits 1 on a failure."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mixvae import cli
from mixvae.errors import UserError
from mixvae.files import atomic, write_json
from mixvae.spec import Expansion, find_config, load

RESULTS, CONFIGS = Path("results"), Path("config")
SHOWN = 20
"""Failures that are printed; all are in audit.md."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", help="results/<study>, a name in config/ or the path of a config")
    arguments = parser.parse_args()
    folder, expansion = find(arguments.study)
    if Path(os.path.realpath(folder)).parent != Path(os.path.realpath(folder.parent)):
        raise UserError(f"{folder}: a link that leads out of {folder.parent}; give the folder itself")

    from mixvae.audit import audit
    from mixvae.audit.findings import FAILURE
    from mixvae.audit.report import line, markdown, summary, table, verdict

    findings = audit(folder, expansion)
    failures = findings.of(FAILURE)
    for finding in failures[:SHOWN]:
        print(line(finding), file=sys.stderr)
    counts = summary(findings)
    print("\n".join(table(counts)))
    content = {"study": folder.name, "passed": not failures, "rules": counts}
    write_json(folder / "audit.json", content | {"findings": [finding._asdict() for finding in findings.all]})
    with atomic(folder / "audit.md") as temporary:
        temporary.write_text(markdown(folder.name, findings), encoding="utf-8")
    print(
        f"{folder.name}: {verdict(findings)}; all findings in {folder / 'audit.md'}",
        file=sys.stderr if failures else sys.stdout,
    )
    return int(bool(failures))


def find(name: str) -> tuple[Path, Expansion | None]:
    """Return the folder of a study's results, and its config where there is one. Raises UserError."""
    folder = Path(name)
    if folder.suffix in (".yaml", ".yml") or not folder.is_dir():
        expansion = load(find_config(name, CONFIGS))
        folder = RESULTS / expansion.study.study
        if not folder.is_dir():
            raise UserError(f"{folder}: no results of study {expansion.study.study}; make ablation STUDY={name} makes them")
        return folder, expansion
    folder = folder.absolute().relative_to(Path.cwd()) if folder.absolute().is_relative_to(Path.cwd()) else folder.absolute()
    config = CONFIGS / f"{folder.name}.yaml"
    try:
        expansion = load(config) if config.is_file() else None
    except UserError as error:
        print(f"warning: {error}; the runs are taken from study.json alone", file=sys.stderr)
        return folder, None
    return folder, expansion if expansion and expansion.study.study == folder.name else None


cli.run(main)
