"""Where the cells of a table come from: their runs, and the records, commands and data of these."""

from mixvae.review.lineage.text import parse_row, trace

__all__ = ["parse_row", "trace"]
