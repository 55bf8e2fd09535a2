"""Rule tabulate: tidy metrics and tables of a study from the results of its runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mixvae import cli
from mixvae.adoption import other_input
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

    from mixvae import results
    from mixvae.published import PATH, read
    from mixvae.spec import outputs
    from mixvae.spec.steps import RUN_FILES, rules_of

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
    made = outputs.tables(study.runs.values(), study.datasets)
    names = ["metrics.parquet", "metrics.csv", "skipped.csv", "failures.csv"]
    names += [f"tables/{table}{end}" for table in made for end in (".csv", ".md", ".tex")]
    inputs = [arguments.study, PATH] + [
        arguments.runs / run / file
        for run, spec in study.runs.items()
        if run not in missing
        for rule in rules_of(spec)
        for file in (*RUN_FILES[rule], f"provenance/{rule}.json")
        if not file.endswith(".h5ad")
    ]
    with record("tabulate", folder / "provenance/tabulate.json", inputs=inputs, outputs=[folder / name for name in names]):
        metrics = results.tidy(study, arguments.runs, missing)
        with atomic(folder / "metrics.parquet") as temporary:
            metrics.to_parquet(temporary, index=False)
        write_csv(metrics, folder / "metrics.csv")
        write_csv(pd.DataFrame(study.skipped, columns=["combination", "reason"]), folder / "skipped.csv")
        write_csv(failed, folder / "failures.csv")
        keep_only(folder / "tables", made)
        for table in made:
            kind, dataset = table.split("_", 1)
            if kind == "published":
                write_comparison(folder / f"tables/{table}", study, metrics, dataset, published)
            else:
                write_cells(folder / f"tables/{table}", kind, study, metrics, arguments.runs, missing, dataset)
    if missing:
        print(f"{len(missing)} of {len(study.runs)} runs are missing, listed in {folder / 'failures.csv'}", file=sys.stderr)


def changed_runs(study, runs: Path, missing: set[str]) -> list[dict[str, str]]:
    """Return the complete runs whose files are not what their provenance says or do not belong together, like `results.failures`."""
    from mixvae.spec.steps import rules_of

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


def write_csv(frame, path: Path) -> None:
    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False)


def write_text(text: str, path: Path) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_cells(stem: Path, kind: str, study, metrics, runs: Path, missing: set[str], dataset: str) -> None:
    """Write a table whose rows are metrics and K."""
    from mixvae import rendering, tables

    if kind == "ablation":
        frame = tables.likelihood_table(study, metrics, runs, missing, dataset)
    else:
        make = {
            "latent": tables.latent_table,
            "reconstruction": tables.reconstruction_table,
            "components": tables.components_table,
            "density": tables.density_table,
        }[kind]
        frame = make(study, metrics, dataset)
    write_csv(tables.wide(frame), stem.with_suffix(".csv"))
    write_text(rendering.markdown(frame, kind, dataset), stem.with_suffix(".md"))
    write_text(rendering.latex(frame, kind, dataset), stem.with_suffix(".tex"))


def write_comparison(stem: Path, study, metrics, dataset: str, published: list[dict[str, str]]) -> None:
    """Write the table of what was published beside what we found."""
    from mixvae import published as comparison

    frame, info = comparison.compare(study, metrics, dataset, published), study.datasets[dataset]
    write_csv(comparison.numbers(frame), stem.with_suffix(".csv"))
    write_text(comparison.markdown(frame, dataset, info), stem.with_suffix(".md"))
    write_text(comparison.latex(frame, dataset, info), stem.with_suffix(".tex"))


cli.run(main)
