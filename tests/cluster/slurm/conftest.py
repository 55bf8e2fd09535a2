"""The cluster that these tests run on."""

import tempfile
from pathlib import Path

import cluster
import pytest
from filelock import FileLock


@pytest.fixture(scope="module")
def slurm():
    """A SLURM cluster with short delays, of which a machine has one: a file's tests wait for another's. One started by hand stays."""
    if reason := cluster.unavailable():
        pytest.skip(reason)
    with FileLock(Path(tempfile.gettempdir(), "mixvae-tests-slurm.lock")):
        by_hand = cluster.CONF.exists()
        cluster.up(**cluster.SHORT_DELAYS)
        yield cluster
        if not by_hand:
            cluster.down()
