"""Rule figures: the figures of a study."""

from __future__ import annotations

import argparse
from pathlib import Path

from mixvae import cli
from mixvae.provenance import record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True, type=Path, help="results/<study>/study.json; metrics.parquet lies beside it")
    parser.add_argument("--results", required=True, type=Path, help="the folder with runs/ and datasets/")
    arguments = parser.parse_args()
    folder, runs = arguments.study.parent, arguments.results / "runs"

    import pandas as pd

    from mixvae import figures, results
    from mixvae.spec import catalogue

    study = results.read_study(arguments.study)
    missing = set(pd.read_csv(folder / "failures.csv").run)
    metrics = pd.read_parquet(folder / "metrics.parquet")
    made: list[Path] = []
    inputs = [arguments.study, folder / "metrics.parquet", folder / "failures.csv"]
    with record("figures", folder / "provenance/figures.json", inputs=inputs, outputs=made) as facts:
        facts["runs"] = sorted(set(study.runs) - missing)

        def save(figure, name: str) -> None:
            figures.save(figure, folder / "figures" / name)
            made.extend(folder / "figures" / f"{name}{suffix}" for suffix in (".png", ".pdf"))

        for dataset in sorted({spec.dataset for spec in study.runs.values()}):
            chosen = figures.first_seed_runs(study, missing, dataset)
            if not chosen:
                print(f"{dataset}: no run succeeded, so no figures")
                continue
            save(figures.nll_against_k(study, metrics, dataset), f"nll_{dataset}")
            save(figures.training_curves(study, runs, missing, dataset), f"training_{dataset}")
            if catalogue()[dataset].kind == "binary_image":
                originals, reconstructions, samples = images(arguments.results, study, chosen, dataset)
                save(figures.image_grid(samples, f"{dataset}: samples from the prior"), f"samples_{dataset}")
                rows = {"test points": originals} | reconstructions
                save(
                    figures.image_grid(rows, f"{dataset}: reconstructions, mean over components"), f"reconstructions_{dataset}"
                )
            else:
                save(
                    figures.umap_panels(runs, chosen, f"{dataset}: UMAP of the component means, training and test points"),
                    f"umap_{dataset}",
                )


def images(root: Path, study, chosen: dict[str, str], dataset: str):
    """Return test images, and reconstructions and samples of every chosen run by label, (n, C, H, W) each."""
    import torch

    from mixvae.data import prepared
    from mixvae.figures import IMAGES
    from mixvae.runs import load_run
    from mixvae.seeds import derive

    data = prepared.load(root / "datasets" / dataset)
    shape, x = (-1, *data.meta["shape"]), torch.from_numpy(data.flat("x_train"))
    test = torch.from_numpy(data.fixed("test"))[:IMAGES]
    reconstructions, samples = {}, {}
    for run, label in chosen.items():
        spec = study.runs[run]
        model = load_run(root / "runs" / run, spec, x).eval()
        torch.manual_seed(derive(spec.seed, "figures"))
        with torch.inference_mode():
            reconstructions[label] = model.reconstruct(test).mean(0).view(shape).numpy()
            samples[label] = model.sample(IMAGES).view(shape).numpy()
    return test.view(shape).numpy(), reconstructions, samples


cli.run(main)
