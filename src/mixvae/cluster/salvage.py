"""Makes tables and figures after a failure, from the runs that are there; both show the holes."""

import subprocess
import sys

from mixvae.code import ROOT
from mixvae.study import Expansion
from mixvae.study.place import RESULTS
from mixvae.study.rules import list_study, listing


def tabulate_what_is_there(expansion: Expansion) -> None:
    """Do the rules study, tabulate and figures, which Snakemake does not start when an input is missing."""
    folder = RESULTS / expansion.study.study
    list_study(folder, listing(expansion))
    for script, options in (("tabulate", ["--runs", RESULTS / "runs", "--allow-missing"]), ("figures", ["--results", RESULTS])):
        subprocess.run([sys.executable, ROOT / f"scripts/{script}.py", "--study", folder / "study.json", *options])
