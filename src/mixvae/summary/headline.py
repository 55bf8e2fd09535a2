"""Prints the headline tables of a study on the terminal when it has ended."""

from pathlib import Path

from mixvae.study import Expansion, outputs
from mixvae.study.metrics import part_annealed


def show(folder: Path, expansion: Expansion) -> None:
    """Print the headline tables, the controls and where everything lies."""
    import pandas as pd

    from mixvae.summary.rendering import headline
    from mixvae.summary.tables import TABLES
    from mixvae.summary.tables.table import MARKS

    seen, lost = "", folder / "failures.csv"
    names = outputs.tables(expansion.runs.values(), expansion.datasets)
    for kind in ("ablation", "reconstruction", "latent", "density"):
        quantities, what = TABLES[kind].headline
        for path in (folder / f"tables/{name}.csv" for name in names if name.split("_", 1)[0] == kind):
            if path.is_file() and (text := headline(pd.read_csv(path), quantities)):
                dataset = path.stem.removeprefix(f"{kind}_")
                print(f"\n{dataset}: {what}\n\n{text}")
                seen += text
                if kind == "ablation":
                    runs = [spec for spec in expansion.runs.values() if spec.dataset == dataset]
                    if part := part_annealed(runs, expansion.datasets[dataset]):
                        print(f"nll_ais: on {part} test points, so compare it with the other rows in tables/gaps_{dataset}.md")
                    metrics = pd.read_csv(folder / "metrics.csv")
                    values = metrics[metrics.metric == "nll"].set_index("run")["value"]
                    for run, spec in expansion.runs.items():
                        if spec.is_control and spec.dataset == dataset and run in values.index:
                            print(f"a constant predictor ({spec.likelihood.name}): {values[run]:.3f}")
    print("".join(f"\n{mark}" for mark in MARKS if mark[0] in seen))
    if lost.is_file() and len(failed := pd.read_csv(lost)):
        print(f"\n{len(failed)} runs are missing, the first is {failed.run[0]} at rule {failed.rule[0]}: {lost}")
    print(f"\nresults: {folder}/ (tables/, figures/, metrics.csv, skipped.csv, failures.csv), runs: {folder.parent}/runs/")
