"""Where the cells of a table come from: their runs, and by which records, commands and data these were made."""

from mixvae.review.lineage.text import parse_row, trace

__all__ = ["parse_row", "trace"]
