"""The audit checks that a study's results are complete, unchanged, consistent and plausible, from its files alone.

The files are not trusted. Nothing in them is executed: JSON is parsed, arrays are read without pickle, links are followed
within the results only, and a file that cannot be read is a finding like any other.
"""

from pathlib import Path

import numpy as np

from mixvae.review.audit import complete, consistent, intact, pages, plausible, recomputed, strays, times, training
from mixvae.review.audit.findings import Findings
from mixvae.review.audit.subject import Subject, read
from mixvae.study import Expansion

CHECKS = (complete, intact, strays, pages, consistent, recomputed, plausible, training, times)
"""The modules of the checks, in an order in which later ones may build on earlier ones."""


def audit(folder: Path, expansion: Expansion | None = None) -> Findings:
    """Audit results/<study> and return the findings; see `examine`."""
    return examine(folder, expansion)[1]


def examine(folder: Path, expansion: Expansion | None = None) -> tuple[Subject, Findings]:
    """Audit results/<study> and return the study as it was read, and the findings.

    Arguments:
        folder: The study's folder; runs/ and datasets/ lie beside it.
        expansion: The study's config, if it is at hand, to compare the runs with.
    """
    subject, findings = read(folder, expansion)
    for module in CHECKS:
        findings.check = module.__name__.rpartition(".")[2]
        # numbers that are not finite are findings, not warnings of numpy
        with findings.guarded(folder), np.errstate(all="ignore"):
            module.check(subject, findings)
    return subject, findings
