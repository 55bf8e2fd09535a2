"""Write the results of a study, with its workflow and the record of every job, as a Workflow Run RO-Crate."""

from mixvae import cli
from mixvae.study.place import find_results


@cli.run
def main(parser: cli.ArgumentParser) -> None:
    parser.add_argument("study", help="results/<study>, a name in config/ or the path of a config")
    arguments = parser.parse_args()
    folder, expansion = find_results(arguments.study)

    from mixvae.review.commands import export_study

    export_study(folder, expansion)
