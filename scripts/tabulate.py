"""Rule tabulate: tidy metrics and tables of a study from the results of its runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mixvae import cli
from mixvae.errors import UserError
from mixvae.files import atomic
from mixvae.provenance import record, verify_outputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True, type=Path, help="results/<study>/study.json")
    parser.add_argument("--runs", required=True, type=Path, help="the folder of all runs, results/runs")
    parser.add_argument("--allow-missing", action="store_true", help="make tables with holes when runs have failed")
    arguments = parser.parse_args()
    folder = arguments.study.parent

    import pandas as pd

    from mixvae import rendering, results, tables

    study = results.read_study(arguments.study)
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
    datasets = sorted({spec.dataset for spec in study.runs.values()})
    names = ["metrics.parquet", "metrics.csv", "skipped.csv", "failures.csv"]
    names += [
        f"tables/{kind}_{dataset}{end}"
        for dataset in datasets
        for kind in ("ablation", "latent")
        for end in (".csv", ".md", ".tex")
    ]
    inputs = [arguments.study] + [
        arguments.runs / run / file
        for run, spec in study.runs.items()
        if run not in missing
        for rule in results.rules_of(spec)
        for file in results.RULES[rule]
        if not file.endswith(".h5ad")
    ]
    with record("tabulate", folder / "provenance/tabulate.json", inputs=inputs, outputs=[folder / name for name in names]):
        metrics = results.tidy(study, arguments.runs, missing)
        with atomic(folder / "metrics.parquet") as temporary:
            metrics.to_parquet(temporary, index=False)
        write_csv(metrics, folder / "metrics.csv")
        write_csv(pd.DataFrame(study.skipped, columns=["combination", "reason"]), folder / "skipped.csv")
        write_csv(failed, folder / "failures.csv")
        for dataset in datasets:
            likelihood = tables.likelihood_table(study, metrics, arguments.runs, missing, dataset)
            write_table(folder / f"tables/ablation_{dataset}", likelihood, rendering.LIKELIHOOD_NOTE, f"{dataset}: likelihoods")
            latent = tables.latent_table(study, metrics, dataset)
            write_table(folder / f"tables/latent_{dataset}", latent, rendering.LATENT_NOTE, f"{dataset}: latent space")
    if missing:
        print(f"{len(missing)} of {len(study.runs)} runs are missing, listed in {folder / 'failures.csv'}", file=sys.stderr)


def changed_runs(study, runs: Path, missing: set[str]) -> list[dict[str, str]]:
    """Return the complete runs of which a file is not what its provenance says, like `results.failures`."""
    from mixvae.results import rules_of

    changed = []
    for run in study.runs.keys() - missing:
        for rule in rules_of(study.runs[run]):
            try:
                verify_outputs(runs / run / f"provenance/{rule}.json")
            except UserError as error:
                changed.append({"run": run, "rule": rule, "log": str(error)})
                break
    return sorted(changed, key=lambda row: row["run"])


def write_csv(frame, path: Path) -> None:
    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False)


def write_table(stem: Path, frame, note: str, title: str) -> None:
    from mixvae import rendering, tables

    write_csv(tables.wide(frame), stem.with_suffix(".csv"))
    with atomic(stem.with_suffix(".md")) as temporary:
        body = rendering.text(frame, "**{}**").to_markdown(index=False, disable_numparse=True)
        temporary.write_text(f"# {title}\n\n{body}\n\n{rendering.note(frame, note)}", encoding="utf-8")
    with atomic(stem.with_suffix(".tex")) as temporary:
        temporary.write_text(rendering.latex(frame, title), encoding="utf-8")


cli.run(main)
