"""This file finds a study's results from what a user gives: their folder, a name in config/ or the path of a config."""

import os
import sys
from pathlib import Path

from mixvae.errors import UserError
from mixvae.study.config import Expansion, load, read_study
from mixvae.study.config_file import find_config
from mixvae.study.looking import NotExecuted

RESULTS, CONFIGS = Path("results"), Path("config")


def find_results(name: str) -> tuple[Path, Expansion | None]:
    """Return the folder of a study's results, and the expanded config, or None if there is no config for the folder.

    The study is named by its folder results/<study>, a name in config/ or the path of a config. Raises UserError when there is
    none, and for a folder that is a link to elsewhere, into which files would then be written.
    """
    folder = Path(name)
    if len(folder.parts) == 1 and not (CONFIGS / f"{name}.yaml").is_file() and (RESULTS / name).is_dir():
        folder = RESULTS / name  # of a config elsewhere; a folder of this name here is none of results
    if folder.suffix in (".yaml", ".yml") or len(folder.parts) < 2 or not folder.is_dir():
        # users' own parts, which would have to be executed for the expansion, are the only mistake that is forgiven
        config, forgiven = find_config(name, CONFIGS), NotExecuted
        folder = RESULTS / read_study(config).study
    else:
        folder = folder.absolute()
        folder = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
        config, forgiven = CONFIGS / f"{folder.name}.yaml", UserError
    expansion = None
    try:
        expansion = load(config, execute=False) if config.is_file() else None
    except forgiven as error:
        print(f"warning: {error}; the runs are taken from study.json alone", file=sys.stderr)
    if not folder.is_dir():
        raise UserError(f"{folder}: no results of study {folder.name}; make ablation STUDY={name} makes them")
    if Path(os.path.realpath(folder)).parent != Path(os.path.realpath(folder.parent)):
        raise UserError(f"{folder}: a link that leads out of {folder.parent}; give the folder itself")
    return folder, expansion if expansion and expansion.study.study == folder.name else None
