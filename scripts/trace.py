"""Print where one cell of a table comes from: runs, seeds, records, commands and data."""

from __future__ import annotations

import argparse
from pathlib import Path

from mixvae import cli
from mixvae.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", help="results/<study>/tables/<table>.csv")
    parser.add_argument("--row", required=True, help="the metric and what else names the row: nll,K=4 (use --row=-elbo,K=4)")
    parser.add_argument("--column", required=True, help="a column of the table, e.g. vamp+iaf or 'vamp+iaf delta'")
    arguments = parser.parse_args()
    for option, meaning in (
        ("table", "results/<study>/tables/<table>.csv"),
        ("row", "as in nll,K=4"),
        ("column", "as in vamp+iaf"),
    ):
        if not getattr(arguments, option):
            raise UserError(f"{option.upper()} is empty; give {meaning}")
    if len(Path(arguments.table).parts) < 3:
        raise UserError(f"{arguments.table}: no such table; TABLE is results/<study>/tables/<table>.csv")

    from mixvae.review.lineage import trace

    print("\n".join(trace(Path(arguments.table), arguments.row, arguments.column)))


cli.run(main)
