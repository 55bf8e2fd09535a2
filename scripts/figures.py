"""Rule figures: the figures of a study."""

from __future__ import annotations

import argparse
from pathlib import Path

from mixvae import cli
from mixvae.files import keep_only
from mixvae.provenance import record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--study", required=True, type=Path, help="results/<study>/study.json; metrics.parquet and tables/ lie beside it"
    )
    parser.add_argument("--results", required=True, type=Path, help="the folder with runs/ and datasets/")
    arguments = parser.parse_args()
    folder = arguments.study.parent
    from mixvae.fitting import devices

    devices.torch_device(0, threads=1)

    import pandas as pd

    from mixvae.study import outputs
    from mixvae.summary import figures, results

    study = results.read_study(arguments.study)
    missing = set(pd.read_csv(folder / "failures.csv").run)
    metrics = pd.read_parquet(folder / "metrics.parquet")
    made: list[Path] = []
    names = outputs.figures(study.runs.values(), study.datasets)
    inputs = [arguments.study, *(folder / name for name in ("metrics.parquet", "failures.csv", *outputs.drawn(names)))]
    shown = sorted(run for run, spec in study.runs.items() if spec.model != "constant" and run not in missing)
    inputs += [arguments.results / "runs" / run / name for run in shown for name in ("model.safetensors", "history.csv")]
    inputs += [arguments.results / "runs" / run / "latents.h5ad" for run in shown if outputs.has_codes(study.runs[run])]
    with record("figures", folder / "provenance/figures.json", inputs=inputs, outputs=made) as facts:
        facts["runs"] = sorted(set(study.runs) - missing)
        view = None
        keep_only(folder / "figures", names)
        for name in names:
            kind, dataset = name.split("_", 1)
            if view is None or view.dataset != dataset:
                # one at a time: a view keeps its data set and models
                view = figures.View(study, dataset, metrics, missing, arguments.results)
            figure = figures.FIGURES[kind](view)
            files = [folder / "figures" / f"{name}{suffix}" for suffix in (".png", ".pdf")]
            if figure is None:
                print(f"{name}: none of the runs it shows succeeded, so it was not drawn")
                for file in files:  # one of an earlier version must not pass for this one's
                    file.unlink(missing_ok=True)
                continue
            figures.save(figure, folder / "figures" / name)
            made.extend(files)


cli.run(main)
