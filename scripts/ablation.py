"""Run a study through Snakemake from config check to headline table: what `make ablation` calls."""

from mixvae import cli
from mixvae.cluster.ablation import run_study


@cli.run
def main(parser: cli.ArgumentParser) -> int:
    parser.add_argument("study", help="a name in config/ or a path")
    parser.add_argument("--cores", required=True)
    parser.add_argument("--profile", default="default", help="a folder in workflow/profiles/")
    parser.add_argument(
        "--forgotten-after", type=float, default=15, metavar="MINUTES", help="of silence with no job left in SLURM's queue"
    )
    # options that are not known here are passed to Snakemake
    arguments, further = parser.parse_known_args()
    return run_study(arguments.study, arguments.cores, arguments.profile, arguments.forgotten_after, further)
