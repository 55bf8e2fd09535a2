"""This file says which tables and figures a study has, from its runs alone: Snakemake must know before anything has run."""

from collections.abc import Callable, Iterable, Mapping

from mixvae.study.catalogue import DatasetInfo
from mixvae.study.run import Run

Condition = Callable[[list[Run], DatasetInfo], bool]
"""Says whether a table or figure is made for the runs on a data set; the controls are not among these runs."""


def _no_density(specs: list[Run], info: DatasetInfo) -> bool:
    return info.kind != "density"


def _of_images(specs: list[Run], info: DatasetInfo) -> bool:
    return info.is_image


def _component_accuracies(specs: list[Run], info: DatasetInfo) -> bool:
    return info.classes > 1 and any(spec.components_are_models for spec in specs)


def _cells(specs: list[Run]) -> set[tuple[str, int]]:
    return {(spec.group, spec.K) for spec in specs}


TABLES: dict[str, Condition] = {
    **dict.fromkeys(("ablation", "comparisons", "ranking", "latent"), _no_density),
    "reconstruction": lambda specs, info: info.is_image and any(spec.likelihood.squared_errors for spec in specs),
    "gaps": lambda specs, info: any(spec.annealing for spec in specs),
    "own": lambda specs, info: any(spec.own_metrics for spec in specs),
    "components": _component_accuracies,
    "density": lambda specs, info: info.kind == "density",
    "published": _no_density,
}
"""For each kind of table, the condition for it; in the order of the report."""
FIGURES: dict[str, Condition] = {
    "nll": _no_density,
    "comparisons": lambda specs, info: _no_density(specs, info) and len(_cells(specs)) > len({spec.group for spec in specs}),
    "ranking": lambda specs, info: _no_density(specs, info) and len(_cells(specs)) > 1,
    "gaps": lambda specs, info: any(spec.annealing and spec.posterior_is_mixture for spec in specs),
    "density": TABLES["density"],
    "training": lambda specs, info: True,
    "samples": _of_images,
    "reconstructions": _of_images,
    "umap": lambda specs, info: info.kind == "counts",
    "components": lambda specs, info: info.is_image and any(spec.components_are_models for spec in specs),
    "accuracy": _component_accuracies,
    "maps": lambda specs, info: info.classes > 1 and any(spec.components_are_models and spec.latent == 2 for spec in specs),
    "categories": lambda specs, info: info.is_image and any(spec.categorises for spec in specs),
    "histograms": lambda specs, info: info.kind == "real" and info.shape == (1,),
}
FROM_TABLES = {"nll": "ablation", "comparisons": "comparisons", "ranking": "ranking", "gaps": "gaps"}
"""The kind of table that a kind of figure is drawn from."""
PAGES = {"report": "report.html", "export": "crate.zip"}
"""By the rule or command that makes it, a page about the finished study, in the study's folder."""


def tables(runs: Iterable[Run], datasets: Mapping[str, DatasetInfo]) -> list[str]:
    """Return the names of a study's tables, without their endings."""
    return _names(TABLES, runs, datasets)


def figures(runs: Iterable[Run], datasets: Mapping[str, DatasetInfo]) -> list[str]:
    """Return the names of a study's figures, without their endings."""
    return _names(FIGURES, runs, datasets)


def drawn(figures: Iterable[str]) -> list[str]:
    """Return the tables that figures of these names are drawn from, as files in the study's folder."""
    names = (name.partition("_") for name in figures)
    return [f"tables/{FROM_TABLES[kind]}_{dataset}.csv" for kind, _, dataset in names if kind in FROM_TABLES]


def _names(kinds: Mapping[str, Condition], runs: Iterable[Run], datasets: Mapping[str, DatasetInfo]) -> list[str]:
    by_dataset: dict[str, list[Run]] = {}
    for spec in runs:
        if not spec.is_control:
            by_dataset.setdefault(spec.dataset, []).append(spec)
    return [
        f"{kind}_{name}"
        for name, specs in sorted(by_dataset.items())
        for kind, condition in kinds.items()
        if condition(specs, datasets[name])
    ]
