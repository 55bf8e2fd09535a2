"""Reads what finished jobs took, from their records, and keeps it in a table for users who have no results yet."""

from pathlib import Path
from typing import Any

import pandas as pd

from mixvae import own
from mixvae.cluster.costs.work import KIND, kind_of, work_of
from mixvae.data.origin import info_of
from mixvae.errors import UserError
from mixvae.files import atomic, read_json
from mixvae.progress import Progress
from mixvae.study import DatasetInfo, Run, parse_run_json
from mixvae.study.jobs import MEASURED

REFERENCE = Path("results/reference/costs.csv")
NUMBERS = ["units", "work", "array_mb", "seconds", "start_up", "peak_memory_mb", "epochs"]
"""What is measured of a job. Its work began after `start_up` of its `seconds`, 0 if that is unknown; `epochs` are those trained
before early stopping, of the `max_epochs` allowed; both are 0 for other rules."""
COLUMNS = [*KIND, *NUMBERS, "max_epochs", "device", "date"]
"""The columns of a table of finished jobs; in memory there is also the source, "here" or "reference"."""


def measure(results: Path) -> tuple[pd.DataFrame, int]:
    """Return the finished jobs under results/runs, and the number of runs that could not be read."""
    found, unread = [], 0
    folders = sorted(path.parent for path in results.glob("runs/*/spec.json"))
    progress = Progress(len(folders), "finished run read")
    for folder in folders:
        try:
            spec = parse_run_json((folder / "spec.json").read_text())
            if spec.own_files:
                own.offer(folder)
            info = info_of(results / "datasets" / spec.dataset, spec)
            for record in (folder / "provenance/train.json", *sorted(folder.glob(f"{MEASURED}/*/provenance/*.json"))):
                if record.is_file():
                    found.append(_measured(record, spec, info))
        except (KeyError, ValueError, OSError, UserError):
            # the run is of an earlier version, or is being written, or the file of its own part is gone
            unread += 1
        progress.step()
    return pd.DataFrame(found, columns=COLUMNS).assign(source="here"), unread


def _measured(record: Path, spec: Run, info: DatasetInfo) -> dict[str, Any]:
    facts, rule, folder = read_json(record), record.stem, record.parent.parent
    spec = spec.measured_by(facts.get("settings"))
    work = work_of(spec, info)[rule]
    # of the whole process as measured by Snakemake, or after the imports for a script run by hand; if a training was cut off,
    # both are only those of the last process, but train_seconds are those of all processes
    seconds = max(facts["seconds"], facts.get("train_seconds", 0.0))
    benchmark = folder / f"benchmarks/{rule}.tsv"
    if benchmark.is_file():
        seconds = max(seconds, float(pd.read_csv(benchmark, sep="\t", float_precision="round_trip")["s"][0]))
    start_up, epochs, max_epochs, share = 0.0, 0, 0, 1.0
    if rule == "train" and not spec.is_control:
        epochs, max_epochs = read_json(folder / "training.json")["epochs"], spec.training.epochs
        start_up, share = max(0.0, seconds - facts["train_seconds"]), epochs / max_epochs
    return kind_of(rule, spec, info, int(facts.get("gpu", False))) | {
        "units": work.units * share, "work": work.work * share, "array_mb": work.array_mb, "seconds": seconds,
        "start_up": start_up, "peak_memory_mb": facts["peak_memory_mb"], "epochs": epochs, "max_epochs": max_epochs,
        "device": facts["device"], "date": facts["start"][:10],
    }  # fmt: skip


def write_table(measured: pd.DataFrame, path: Path) -> int:
    """Write measurements as a table, repetitions as their median; return its number of rows."""
    keys = [column for column in COLUMNS if column not in (*NUMBERS, "date")]
    table = (
        measured.groupby(keys, as_index=False).agg(dict.fromkeys(NUMBERS, "median") | {"date": "max"}).astype({"epochs": int})
    )
    with atomic(path) as temporary:
        table[COLUMNS].to_csv(temporary, index=False, float_format="%.6g")
    return len(table)


def read_table(path: Path) -> pd.DataFrame:
    """Read what `write_table` wrote; raises UserError when it is something else."""
    try:
        # a digest such as 12e456789012 is no number
        text = dict.fromkeys(("signature", "shape"), str)
        frame = pd.read_csv(path, dtype=dict.fromkeys(NUMBERS, float) | text, keep_default_na=False)
        if set(frame) != set(COLUMNS):
            raise ValueError(f"its columns are {', '.join(frame)}")
        return frame.assign(source="reference")
    except ValueError as error:
        raise UserError(f"{path}: not a table of costs ({error}); restore it from the repository or delete it") from None
