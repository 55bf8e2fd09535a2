"""The kinds of tables, one file each: title, the columns that name a row, making, layout and note.

Every file has `TITLE`; `ROWS`, the columns that name a row of the page; `make(sources)`, which returns the rows of the .csv;
`grids(frame)`, which lays them out; and `note(frame, sources)`, which explains them. A file with `HEADLINE` has quantities that the
terminal shows, and what they are. Which kinds a study has is said in `mixvae.study.outputs`, and captions in `workflow/report/tables`.
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
