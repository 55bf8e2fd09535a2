"""Checks the run that is to be measured, and records what a measuring rule makes of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixvae.provenance import record, verify_outputs
from mixvae.study import Run
from mixvae.study.jobs import RUN_FILES, folder_of, record_of


@contextmanager
def measuring(rule: str, spec: Run, run: Path, dataset: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the folder of a measurement, which the body of the `with` fills, and the facts of the record.

    Arguments:
        run: The run's folder.
        dataset: results/datasets/<dataset>.

    Raises UserError when the weights have changed since they were recorded.
    """
    verify_outputs(record_of("train", spec, run))
    inputs = [run / "spec.json", run / "model.safetensors", dataset / "data.npz", dataset / "dataset.json"]
    folder = folder_of(rule, spec, run)
    outputs = [folder / name for name in RUN_FILES[rule]]
    folder.mkdir(parents=True, exist_ok=True)
    with record(rule, record_of(rule, spec, run), inputs=inputs, outputs=outputs, spec=spec.training_spec()) as facts:
        facts["settings"] = spec.measuring(rule)
        yield folder, facts
