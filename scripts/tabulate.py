"""Rule tabulate: tidy metrics and tables of a study from the results of its runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mixvae import cli
from mixvae.cluster.adoption import other_input
from mixvae.errors import UserError
from mixvae.files import atomic, keep_only, read_json
from mixvae.provenance import record, verify_outputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True, type=Path, help="results/<study>/study.json")
    parser.add_argument("--runs", required=True, type=Path, help="the folder of all runs, results/runs")
    parser.add_argument("--allow-missing", action="store_true", help="make tables with holes when runs have failed")
    arguments = parser.parse_args()
    folder = arguments.study.parent

    import pandas as pd

    from mixvae.study import outputs
    from mixvae.study.steps import RUN_FILES, rules_of, steps
    from mixvae.summary import manifest, results, tabulation
    from mixvae.summary.published import PATH, read

    study, published = results.read_study(arguments.study), read(PATH)
    failed = results.failures(study, arguments.runs)
    if len(failed) and not arguments.allow_missing:
        raise UserError(
            f"{len(failed)} of {len(study.runs)} runs are not complete, the first is {failed.run[0]}; see its logs/"
        )
    changed = changed_runs(study, arguments.runs, set(failed.run))
    if changed and not arguments.allow_missing:
        raise UserError(changed[0]["log"])
    failed = pd.concat([failed, pd.DataFrame(changed, columns=failed.columns)], ignore_index=True)
    missing = set(failed.run)
    inputs = [arguments.study, PATH] + [
        arguments.runs / run / file
        for run, spec in study.runs.items()
        if run not in missing
        for rule in rules_of(spec)
        for file in (*RUN_FILES[rule], f"provenance/{rule}.json")
        if not file.endswith(".h5ad")
    ]
    made = [folder / name for name in [*tabulation.names(study), manifest.NAME]]
    with record("tabulate", folder / "provenance/tabulate.json", inputs=inputs, outputs=made):
        keep_only(folder / "tables", outputs.tables(study.runs.values(), study.datasets))
        content = tabulation.content(study, arguments.runs, missing, published)
        for name, what in (content | {"failures.csv": failed}).items():
            write(what, folder / name)
        root = arguments.runs.parent
        manifest.write(folder / manifest.NAME, steps(study.name, study.runs, study.datasets, root), root)
    if missing:
        print(f"{len(missing)} of {len(study.runs)} runs are missing, listed in {folder / 'failures.csv'}", file=sys.stderr)


def changed_runs(study, runs: Path, missing: set[str]) -> list[dict[str, str]]:
    """Return the complete runs whose files are not what their provenance says or do not belong together, like `results.failures`."""
    from mixvae.study.steps import rules_of

    changed = []
    for run in study.runs.keys() - missing:
        known: dict[str, str] = {}
        for rule in rules_of(study.runs[run]):
            path = runs / run / f"provenance/{rule}.json"
            try:
                verify_outputs(path)
                facts = by_file_name(read_json(path))
                if name := other_input(facts, known):
                    raise UserError(f"{runs / run}: {rule} was made from another {name}; delete the folder and run again")
                known |= facts["inputs"] | facts["outputs"]
            except UserError as error:
                changed.append({"run": run, "rule": rule, "log": str(error)})
                break
    return sorted(changed, key=lambda row: row["run"])


def by_file_name(facts: dict) -> dict[str, dict[str, str]]:
    """Return the digests of a run's record by the files' names: a rule run by hand names other folders."""
    return {part: {Path(name).name: digest for name, digest in facts[part].items()} for part in ("inputs", "outputs")}


def write(what, path: Path) -> None:
    """Write a table's numbers, or its text, in the format that the file's name says."""
    with atomic(path) as temporary:
        if isinstance(what, str):
            temporary.write_text(what, encoding="utf-8")
        elif path.suffix == ".parquet":
            what.to_parquet(temporary, index=False)
        else:
            what.to_csv(temporary, index=False)


cli.run(main)
