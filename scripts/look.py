"""Print what a user's own data file holds as JSON; the check of a config runs this script for a file that it does not know."""

import json
from pathlib import Path

from mixvae import cli
from mixvae.data.look import look
from mixvae.study.catalogue import ReaderOptions


@cli.run
def main(parser: cli.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, help="an .npz or .h5ad file")
    parser.add_argument("--keys", type=json.loads, default={}, help="of an .npz, the names of its arrays as JSON")
    parser.add_argument("--label", help="of an .h5ad, the column of obs with the labels")
    parser.add_argument("--unlabelled", action="store_true", help="an .h5ad has no labels")
    parser.add_argument("--genes", type=int, help="of an .h5ad, how many genes will be kept")
    arguments = parser.parse_args()
    options = ReaderOptions(keys=arguments.keys, label=arguments.label)
    print(look(arguments.path, options, arguments.unlabelled, arguments.genes).model_dump_json())
