"""Lists the kinds of tables. `mixvae.study.outputs` says which a study has; workflow/report/tables has their captions."""

from mixvae.summary.tables import ablation, comparisons, components, means, published, ranking

TABLES = {
    "ablation": ablation.TABLE,
    "comparisons": comparisons.TABLE,
    "ranking": ranking.TABLE,
    "latent": means.LATENT,
    "reconstruction": means.RECONSTRUCTION,
    "gaps": means.GAPS,
    "own": means.OWN,
    "components": components.TABLE,
    "density": means.DENSITY,
    "published": published.TABLE,
}
