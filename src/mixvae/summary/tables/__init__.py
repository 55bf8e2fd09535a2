"""The kinds of tables, one file each, which says how the table is made, laid out and explained.

Every file has `TITLE`; `ROWS`, the columns that name a row of the page; `make(sources)`, which returns the rows of the .csv;
`grids(frame)`, which lays them out; and `note(frame, sources)`, which explains them. Some have `HEADLINE`: the quantities that
the terminal shows, and a description. `mixvae.study.outputs` says which kinds a study has; workflow/report/tables has captions.
"""

from mixvae.summary.tables import ablation, comparisons, components, density, latent, published, ranking, reconstruction

TABLES = {
    "ablation": ablation,
    "comparisons": comparisons,
    "ranking": ranking,
    "latent": latent,
    "reconstruction": reconstruction,
    "components": components,
    "density": density,
    "published": published,
}
