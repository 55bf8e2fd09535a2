"""A study as a Provenance Run RO-Crate: its workflow, results and records in one zip, described by one graph."""
