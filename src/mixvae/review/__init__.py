"""Reviews finished results: the audit, the lineage of a table's cells, the report, the crate, and training a run again."""
