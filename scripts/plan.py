"""Estimate the jobs, hours, memory and disk space of a study from finished runs, before anything starts."""

from pathlib import Path

from mixvae import cli
from mixvae.cluster.plan import print_plan, record_costs


@cli.run
def main(parser: cli.ArgumentParser) -> None:
    parser.add_argument("study", nargs="?", help="a name in config/ or a path")
    parser.add_argument("--cores", type=int, help="of this machine; by default all")
    parser.add_argument("--jobs", type=int, help="jobs at a time on a cluster, instead of --cores")
    parser.add_argument("--record", type=Path, metavar="CSV", help="write the costs of the finished runs instead")
    arguments = parser.parse_args()
    if (arguments.study is None) == (arguments.record is None):
        parser.error("give a study, or --record")
    if arguments.record:
        record_costs(arguments.record)
    else:
        print_plan(arguments.study, arguments.cores, arguments.jobs)
