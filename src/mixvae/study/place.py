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

    Arguments:
        name: results/<study>, a name in config/ or the path of a config.

    Raises UserError when there is none, and for a folder that is a link to elsewhere, into which files would then be written.
    """
    folder, expansion = Path(name), None
    if len(folder.parts) == 1 and not (CONFIGS / f"{name}.yaml").is_file() and (RESULTS / name).is_dir():
        folder = RESULTS / name  # of a config elsewhere; a folder of this name here is none of results
    if folder.suffix in (".yaml", ".yml") or len(folder.parts) < 2 or not folder.is_dir():
        path = find_config(name, CONFIGS)
        study, expansion = read_study(path).study, _expanded(path)
        folder = RESULTS / study
        if not folder.is_dir():
            raise UserError(f"{folder}: no results of study {study}; make ablation STUDY={name} makes them")
    else:
        folder = folder.absolute()
        folder = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
        config = CONFIGS / f"{folder.name}.yaml"
        try:
            found = _expanded(config) if config.is_file() else None
            expansion = found if found and found.study.study == folder.name else None
        except UserError as error:
            print(f"warning: {error}; the runs are taken from study.json alone", file=sys.stderr)
    if Path(os.path.realpath(folder)).parent != Path(os.path.realpath(folder.parent)):
        raise UserError(f"{folder}: a link that leads out of {folder.parent}; give the folder itself")
    return folder, expansion


def _expanded(path: Path) -> Expansion | None:
    """Return an expanded config, or None, with a warning, where users' own parts would have to be executed for it."""
    try:
        return load(path, execute=False)
    except NotExecuted as error:
        print(f"warning: {error}; the runs are taken from study.json alone", file=sys.stderr)
        return None
