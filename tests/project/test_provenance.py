"""What a record says of the process that wrote it."""

import subprocess
import sys

import numpy as np
import pytest
from support.project import ROOT

from mixvae.errors import UserError
from mixvae.provenance import peak_memory_mb, verify_outputs

MANY = 400
"""MiB that the starting process holds."""


def test_the_peak_memory_is_the_process_own_and_not_that_of_the_one_that_started_it():
    held = np.ones(MANY << 17)
    assert peak_memory_mb() >= MANY
    code = "from mixvae.provenance import peak_memory_mb; print(peak_memory_mb())"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=True
    )
    assert 5 < float(done.stdout) < MANY / 2
    assert held.all()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"outputs": 3, "inputs": {}}', '{"outputs": {}}', "null"])
def test_a_damaged_record_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "provenance/train.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UserError, match=r"train.json: not a record of rule train \(.*; delete .* and run again$") as refused:
        verify_outputs(path)
    assert len(str(refused.value).splitlines()) == 1
