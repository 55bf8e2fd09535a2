"""This room turns a config into runs, data sets and the jobs of the DAG; it imports neither torch nor numpy nor pandas."""

from mixvae.errors import UserError
from mixvae.study.catalogue import DatasetInfo, catalogue
from mixvae.study.config import Expansion, expand, load
from mixvae.study.config_file import find_config
from mixvae.study.reading import parse_run, parse_run_json
from mixvae.study.run import Run
from mixvae.study.systems import Constant, MixtureVAE

__all__ = [
    "Constant", "DatasetInfo", "Expansion", "MixtureVAE", "Run", "UserError",
    "catalogue", "expand", "find_config", "load", "parse_run", "parse_run_json",
]  # fmt: skip
