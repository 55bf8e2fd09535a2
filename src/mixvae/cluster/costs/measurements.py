"""Measurements of finished jobs: read from the results, and kept in a table for users who have no results yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixvae.cluster.costs.work import Kind, Work, WorkCounter, kind_of
from mixvae.errors import UserError
from mixvae.files import atomic, canonical_json, read_json
from mixvae.progress import Progress
from mixvae.study import AnyRun, DatasetInfo, catalogue, parse_run_json

REFERENCE = Path("results/reference/costs.csv")


@dataclass(frozen=True)
class Measurement(Kind):
    """One finished job.

    seconds: Of the whole job; its work began after `start_up` seconds, 0 if that is unknown.
    epochs, max_epochs: The epochs trained before early stopping, and the epochs allowed; 0 for other rules.
    """

    units: float
    work: float
    array_mb: float
    seconds: float
    start_up: float
    peak_memory_mb: float
    epochs: int
    max_epochs: int
    device: str
    date: str
    source: str = "here"


def measure(results: Path, counter: WorkCounter) -> tuple[list[Measurement], int]:
    """Return the finished jobs under results/runs, and the number of runs that could not be read."""
    found, unread = [], 0
    folders = sorted(path.parent for path in results.glob("runs/*/spec.json"))
    progress = Progress(len(folders), "finished run read")
    for folder in folders:
        try:
            spec = parse_run_json((folder / "spec.json").read_text())
            info = _info(results, spec)
            for rule, work in counter.work(spec, info).items():
                if (folder / f"provenance/{rule}.json").is_file():
                    found.append(_measured(folder, rule, spec, info, work))
        except (KeyError, ValueError, OSError):
            # the run is of an earlier version, or is being written
            unread += 1
        progress.step()
    return found, unread


def _info(results: Path, spec: AnyRun) -> DatasetInfo:
    if spec.data is None:
        return catalogue()[spec.dataset]
    raw = read_json(results / "datasets" / spec.dataset / "raw.json")
    return DatasetInfo.model_validate_json(canonical_json(raw["info"]))


def _measured(folder: Path, rule: str, spec: AnyRun, info: DatasetInfo, work: Work) -> Measurement:
    facts = read_json(folder / f"provenance/{rule}.json")
    # if a training was cut off, the job's time is only that of the last process, but train_seconds is that of all processes
    seconds = max(_job_seconds(folder, rule, facts), facts.get("train_seconds", 0.0))
    start_up, epochs, max_epochs, share = 0.0, 0, 0, 1.0
    if rule == "train" and not spec.is_control:
        epochs, max_epochs = read_json(folder / "training.json")["epochs"], spec.training.epochs
        start_up, share = max(0.0, seconds - facts["train_seconds"]), epochs / max_epochs
    return Measurement(
        **vars(kind_of(rule, spec, info, int(facts.get("gpu", False)))), units=work.units * share, work=work.work * share,
        array_mb=work.memory_mb, seconds=seconds, start_up=start_up, peak_memory_mb=facts["peak_memory_mb"],
        epochs=epochs, max_epochs=max_epochs, device=facts["device"], date=facts["start"][:10],
    )  # fmt: skip


def _job_seconds(folder: Path, rule: str, facts: dict[str, Any]) -> float:
    """Return the seconds of the whole process as measured by Snakemake, or those after the imports for a script run by hand."""
    benchmark = folder / f"benchmarks/{rule}.tsv"
    if benchmark.is_file():
        header, values, *_ = (line.split("\t") for line in benchmark.read_text().splitlines())
        return max(facts["seconds"], float(values[header.index("s")]))
    return facts["seconds"]


def write_table(measurements: Sequence[Measurement], path: Path) -> int:
    """Write measurements as a table, repetitions as their median; return its number of rows."""
    import pandas as pd

    frame = pd.DataFrame(measurements).drop(columns="source")
    medians = ["units", "work", "array_mb", "seconds", "start_up", "peak_memory_mb", "epochs"]
    keys = [column for column in frame if column not in (*medians, "date")]
    table = frame.groupby(keys, as_index=False).agg(dict.fromkeys(medians, "median") | {"date": "max"}).astype({"epochs": int})
    with atomic(path) as temporary:
        table[frame.columns].to_csv(temporary, index=False, float_format="%.6g")
    return len(table)


def read_table(path: Path) -> list[Measurement]:
    """Read what `write_table` wrote; raises UserError when it is something else."""
    import pandas as pd

    try:
        # a digest such as 12e456789012 is no number
        frame = pd.read_csv(path, dtype={"signature": str, "shape": str}, keep_default_na=False)
        return [Measurement(**row, source="reference") for row in frame.to_dict("records")]
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: not a table of costs ({error}); restore it from the repository or delete it") from None
