"""Configuration: what a run is, what a study is, which data sets there are. Imports neither torch nor numpy."""

from mixvae.errors import UserError
from mixvae.spec.catalogue import DatasetInfo, catalogue
from mixvae.spec.run import AnyRun, Constant, MixtureVAE, parse_run, parse_run_json
from mixvae.spec.study import Expansion, Study, expand, find_config, load

__all__ = [
    "AnyRun",
    "Constant",
    "DatasetInfo",
    "Expansion",
    "MixtureVAE",
    "Study",
    "UserError",
    "catalogue",
    "expand",
    "find_config",
    "load",
    "parse_run",
    "parse_run_json",
]
