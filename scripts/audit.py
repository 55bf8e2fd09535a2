"""Check the results of a study: complete, unchanged since they were made, consistent and plausible. Exits 1 on a failure."""

from mixvae import cli
from mixvae.study.place import find_results


@cli.run
def main(parser: cli.ArgumentParser) -> int:
    parser.add_argument("study", help="results/<study>, a name in config/ or the path of a config")
    arguments = parser.parse_args()
    folder, expansion = find_results(arguments.study)

    from mixvae.review.commands import audit_study

    return audit_study(folder, expansion)
