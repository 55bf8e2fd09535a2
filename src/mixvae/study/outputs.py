"""Which tables and figures a study has, from its runs alone: Snakemake must know before anything has run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mixvae.study.catalogue import DatasetInfo
from mixvae.study.run import AnyRun

CLUSTERING = ("cpvae", "gmvae", "gmvae_shu")
"""Models that sort the points into categories."""
IMAGES = ("grey_image", "colour_image")
FROM_TABLES = ("comparisons", "ranking")
"""Figures that are drawn from the table of the same name."""
POINTS_PER_CLASS = 5
"""Probes and K-means want this many training points per class; with fewer, as for Omniglot's 1,623 characters, labels are left alone."""


def has_codes(spec: AnyRun) -> bool:
    """Return whether a run encodes points, which the control and a posterior without data do not."""
    return spec.model not in ("constant", "toy")


def tables(runs: Iterable[AnyRun], datasets: Mapping[str, DatasetInfo]) -> list[str]:
    """Return the names of a study's tables, without their endings."""
    return [f"{kind}_{name}" for name, specs in _by_dataset(runs) for kind in _tables(specs, datasets[name])]


def figures(runs: Iterable[AnyRun], datasets: Mapping[str, DatasetInfo]) -> list[str]:
    """Return the names of a study's figures, without their endings."""
    return [f"{kind}_{name}" for name, specs in _by_dataset(runs) for kind in _figures(specs, datasets[name])]


def drawn(figures: Iterable[str]) -> list[str]:
    """Return the tables that figures of these names are drawn from, as files in the study's folder."""
    return [f"tables/{name}.csv" for name in figures if name.split("_", 1)[0] in FROM_TABLES]


def _by_dataset(runs: Iterable[AnyRun]) -> list[tuple[str, list[AnyRun]]]:
    groups: dict[str, list[AnyRun]] = {}
    for spec in runs:
        if spec.model != "constant":
            groups.setdefault(spec.dataset, []).append(spec)
    return sorted(groups.items())


def _tables(specs: list[AnyRun], info: DatasetInfo) -> list[str]:
    """Likelihoods, K against smaller K, ranks, latent space, reconstructions, components alone, fit to a density, and what was published."""
    if info.kind == "density":
        return ["density"]
    kinds = {
        "ablation": True,
        "comparisons": True,
        "ranking": True,
        "latent": True,
        "reconstruction": any(spec.likelihood.name == "gaussian" for spec in specs) and info.kind in IMAGES,
        "components": any(spec.model == "mvae" for spec in specs) and info.classes > 1,
        "published": True,
    }
    return [kind for kind, there in kinds.items() if there]


def _settings(spec: AnyRun) -> str:
    """Return all that a table's column stands for."""
    return spec.model_copy(update={"K": 1, "seed": 0}).canonical()


def _figures(specs: list[AnyRun], info: DatasetInfo) -> list[str]:
    if info.kind == "density":
        return ["density", "training"]
    image, models = info.kind in IMAGES, {spec.model for spec in specs}
    cells = {(_settings(spec), spec.K) for spec in specs}
    kinds = {
        "nll": True,
        "comparisons": len(cells) > len({settings for settings, _ in cells}),
        "ranking": len(cells) > 1,
        "training": True,
        "samples": image,
        "reconstructions": image,
        "umap": info.kind == "counts",
        "components": image and "mvae" in models,
        "accuracy": "mvae" in models and info.classes > 1,
        "maps": info.classes > 1 and any(spec.model == "mvae" and spec.latent == 2 for spec in specs),
        "categories": image and bool(models & set(CLUSTERING)),
        "histograms": info.kind == "real" and info.shape == (1,),
    }
    return [kind for kind, there in kinds.items() if there]
