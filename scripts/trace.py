"""Print where one cell of a table comes from: runs, seeds, records, commands and data."""

from mixvae import cli


@cli.run
def main(parser: cli.ArgumentParser) -> None:
    parser.add_argument("table", help="results/<study>/tables/<table>.csv")
    parser.add_argument("--row", required=True, help="the metric and what else names the row: nll,K=4 (use --row=-elbo,K=4)")
    parser.add_argument("--column", required=True, help="a column of the table, e.g. vamp+iaf or 'vamp+iaf delta'")
    arguments = parser.parse_args()

    from mixvae.review.commands import trace_cell

    trace_cell(arguments.table, arguments.row, arguments.column)
