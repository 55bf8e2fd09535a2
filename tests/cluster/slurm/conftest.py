"""The cluster that these tests run on."""

from __future__ import annotations

import cluster
import pytest


@pytest.fixture(scope="session")
def slurm():
    """A SLURM cluster with short delays; one that was started by hand stays."""
    if reason := cluster.unavailable():
        pytest.skip(reason)
    by_hand = cluster.CONF.exists()
    cluster.up(**cluster.SHORT_DELAYS)
    yield cluster
    if not by_hand:
        cluster.down()
