"""What runs cost: their work counted, the seconds of finished runs measured, and the one carried over to the other.

The work of a run is counted exactly, on tensors without data: the floating point operations of its training steps and of its
importance samples. Finished runs tell how many seconds such work took, seconds = start-up + a units + b work, a unit being a
training step or an importance sample, and a new run is estimated from the finished runs that are most like it.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from mixvae.errors import UserError
from mixvae.files import atomic, canonical_json, read_json
from mixvae.progress import Progress
from mixvae.spec import AnyRun, DatasetInfo, catalogue, parse_run_json
from mixvae.spec.outputs import has_codes

STAGES = ("train", "evaluate", "latents")
REFERENCE = Path("results/reference/costs.csv")
SMALL = 2
"""Points, and samples, with which an evaluation is counted; it is linear in both."""
COMPARABLE_EPOCHS = 0.5
"""Early stopping of a run with fewer than this share of another's epochs tells nothing of when that one would stop."""
MOST_START_UP = 0.9
"""The largest share of a job that is taken for start-up where that was not measured."""
LEVELS = {
    "measured": ("signature",),
    "same model and networks": ("model", "encoder", "decoder"),
    "same networks": ("encoder", "decoder"),
    "same model": ("model",),
    "other": (),
}
"""By name of the basis, what a finished run must have in common with the run it is used for, nearest first."""


class Work(NamedTuple):
    """What one job has to do.

    units: Training steps, or importance samples of all components. Of the latents rule the numbers that probes read.
    work: Floating point operations. Of the latents rule numbers times points, the distances between points.
    memory_mb: The large arrays it holds.
    disk_mb: The files it leaves.
    """

    units: float
    work: float
    memory_mb: float
    disk_mb: float


@dataclass(frozen=True)
class Kind:
    """What makes two jobs alike: `signature` is equal for those that do the same work per unit with the same threads."""

    stage: str
    model: str
    K: int
    prior: str
    flow: str
    encoder: str
    decoder: str
    likelihood: str
    shape: str
    threads: int
    gpu: int
    signature: str


@dataclass(frozen=True)
class Measurement(Kind):
    """One finished job.

    seconds: Of the whole job, `start_up` of them before its work began where that is known.
    epochs, max_epochs: Those trained before early stopping, and those allowed; 0 for other rules.
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


class Estimate(NamedTuple):
    """What one job will cost.

    seconds: With all epochs that are allowed, `start_up` of them before the work begins.
    epochs_share: The share of their epochs that runs of the model have used before they stopped early; None where unknown.
    basis: A key of LEVELS, and whether from the reference table.
    rows: How many measurements that rests on.
    spread: The factor by which the fit misses the worst of them.
    reach: The work per unit, relative to the largest measured.
    """

    seconds: float
    start_up: float
    epochs_share: float | None
    memory_mb: float
    disk_mb: float
    basis: str
    rows: int
    spread: float
    reach: float


# --- the work of a run ---------------------------------------------------------------------------------------------------------


class Counts(NamedTuple):
    """Of one model: floating point operations of a training step; of encoding one point and of one importance sample of all its
    components; bytes that a step keeps for its gradient; numbers one sample passes through at its widest; parameters; codes per point.
    """

    step: float
    encode: float
    sample: float
    kept: float
    width: int
    parameters: int
    codes: int


def count(spec: AnyRun, info: DatasetInfo) -> Counts:
    """Build a run's model from zeros and count its operations, on tensors without data where the model allows it."""
    import torch

    from mixvae.models import build

    dimensions = math.prod(info.shape)
    rows = min(info.splits.train, 10 * max(100, getattr(spec.prior, "components", 0)))
    model = build(spec, torch.zeros(rows, dimensions), tuple(info.shape))
    batch = min(spec.training.batch_size, _points(spec, info, "train"))
    codes = _code_numbers(model, dimensions) if has_codes(spec) else 0
    try:
        step, encode, sample, kept = _operations(model.to("meta"), batch, spec, dimensions)
    except (RuntimeError, NotImplementedError):
        # a random draw that is not possible without data: two small batches tell, the operations being affine in the batch but
        # for dHSIC, which is a small part
        model = build(spec, torch.zeros(rows, dimensions), tuple(info.shape))
        one, two = (np.array(_operations(model, size, spec, dimensions)) for size in (SMALL, 2 * SMALL))
        step, encode, sample, kept = one + (two - one) * (batch - SMALL) / SMALL
        encode, sample = one[1:3]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Counts(step, encode, sample, kept, model.width, parameters, codes)


def _operations(model: Any, batch: int, spec: AnyRun, dimensions: int) -> tuple[float, float, float, float]:
    import torch

    device = next(model.parameters()).device
    model.train()
    x = torch.zeros(batch, dimensions, device=device)
    noise = torch.zeros(spec.training.samples, model.K, batch, model.noise_size, device=device)
    # a tensor that several operations keep counts once
    kept: dict[int, Any] = {}

    def keep(tensor):
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step = flops(lambda: (-model.objective(x, 1.0, noise).value.mean()).backward())
    model.eval()
    with torch.no_grad():
        x = torch.zeros(SMALL, dimensions, device=device)
        noise = torch.zeros(SMALL, model.K, SMALL, model.noise_size, device=device)
        encode = flops(lambda: model.posterior(x))
        posterior, prior = model.posterior(x), model.prior_distribution(torch.float64)
        sample = flops(lambda: model.log_terms(x, posterior, prior, noise))
    bytes_kept = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    return step, encode / SMALL, sample / SMALL**2, bytes_kept


def flops(function: Callable[[], Any]) -> int:
    """Return the floating point operations of the matrix products and convolutions in a call."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def _code_numbers(model: Any, dimensions: int) -> int:
    """Return how many numbers the probes see of one point: means and standard deviations of all components."""
    import torch

    model.eval()
    with torch.inference_mode():
        mean, std = model.codes(torch.zeros(1, dimensions))
    return mean.numel() + std.numel()


def _points(spec: AnyRun, info: DatasetInfo, part: str) -> int:
    settings = spec.evaluation if part == "test" else spec.training
    return min(getattr(info.splits, part), settings.points or math.inf)


def _train_work(spec: AnyRun, info: DatasetInfo, counts: Counts) -> Work:
    train, valid = (_points(spec, info, part) for part in ("train", "valid"))
    steps = math.ceil(train / spec.training.batch_size)
    full = train / min(spec.training.batch_size, train)
    epoch = full * counts.step + valid * (counts.encode + spec.training.samples * counts.sample)
    # weights, gradients, Adam's two averages, and the best epoch's weights
    memory = _data_mb(info) + (counts.kept + 5 * 4 * counts.parameters) / 1e6
    epochs = spec.training.epochs
    return Work(epochs * steps, epochs * epoch, memory, (4 * counts.parameters + 110 * epochs) / 1e6)


def _evaluate_work(spec: AnyRun, info: DatasetInfo, counts: Counts) -> Work:
    from mixvae.evaluation import ELEMENTS, SAMPLE_BLOCK

    points, samples = _points(spec, info, "test"), spec.evaluation.samples
    block = spec.K * min(samples, SAMPLE_BLOCK) * counts.width
    memory = _data_mb(info) + 4 * max(block, min(points * block, ELEMENTS["cpu"])) / 1e6
    disk = 8 * points * (11 + spec.K) / 1e6
    return Work(points * samples * spec.K, points * (counts.encode + samples * counts.sample), memory, disk)


def _latents_work(spec: AnyRun, info: DatasetInfo, counts: Counts) -> Work:
    train, test = min(info.splits.train, spec.evaluation.probe_points), _points(spec, info, "test")
    disk = (train + test) * (4 * 1.5 * counts.codes + 20) / 1e6
    # an M-VAE's components are probed together and alone
    times = (info.classes > 1) * (2 if spec.model == "mvae" and spec.K > 1 else 1)
    units, work = (train + test) * counts.codes * times, (train**2 + test**2) * counts.codes * times
    return Work(units, work, _data_mb(info), disk)


def _data_mb(info: DatasetInfo) -> float:
    return 4 * sum(info.splits.model_dump().values()) * math.prod(info.shape) / 1e6


class Counter:
    """Counts the work of runs, that of each kind of model once."""

    def __init__(self) -> None:
        self._counts: dict[str, Counts] = {}

    def work(self, spec: AnyRun, info: DatasetInfo) -> dict[str, Work]:
        """Return the work of every rule that a run goes through; a control's is all start-up."""
        if spec.model == "constant":
            return {stage: Work(0, 0, _data_mb(info), 0.01) for stage in ("train", "evaluate")}
        key = _signature(spec, info)
        if key not in self._counts:
            self._counts[key] = count(spec, info)
        makers = {"train": _train_work, "evaluate": _evaluate_work, "latents": _latents_work}
        stages = STAGES if has_codes(spec) else STAGES[:2]
        return {stage: makers[stage](spec, info, self._counts[key]) for stage in stages}


def _signature(spec: AnyRun, info: DatasetInfo, *more: Any) -> str:
    """Return a digest of everything that the work per unit depends on."""
    described = spec.model_dump(mode="json", exclude={"seed", "dataset", "data", "training", "evaluation"})
    if spec.model != "constant":
        described["batch"] = [min(spec.training.batch_size, _points(spec, info, "train")), spec.training.samples]
    if spec.prior.name == "vamp":
        described["pseudo_inputs"] = min(spec.prior.components, info.splits.train // 10)
        del described["prior"]
    return hashlib.sha256(canonical_json([described, list(info.shape), *more]).encode()).hexdigest()[:12]


def kind(stage: str, spec: AnyRun, info: DatasetInfo, gpu: int) -> Kind:
    """Return what a job is compared with others by."""
    trained = stage != "latents" and spec.model != "constant"
    networks = [getattr(getattr(spec, role, None), "name", "none") for role in ("encoder", "decoder")]
    # probes read the labels too
    more = (spec.dataset, spec.evaluation.probe_points, spec.evaluation.points) if stage == "latents" else ()
    return Kind(
        stage, spec.model, spec.K, spec.prior.name, spec.flow.name, *networks, spec.likelihood.name,
        "x".join(map(str, info.shape)), spec.threads, gpu if trained else 0, _signature(spec, info, *more),
    )  # fmt: skip


# --- measurements --------------------------------------------------------------------------------------------------------------


def measure(results: Path, counter: Counter) -> tuple[list[Measurement], int]:
    """Return the finished jobs under results/runs, and how many runs there could not be read."""
    found, unread = [], 0
    folders = sorted(path.parent for path in results.glob("runs/*/spec.json"))
    progress = Progress(len(folders), "finished run read")
    for folder in folders:
        try:
            spec = parse_run_json((folder / "spec.json").read_text())
            info = _info(results, spec)
            for stage, work in counter.work(spec, info).items():
                if (folder / "provenance" / f"{stage}.json").is_file():
                    found.append(_measured(folder, stage, spec, info, work))
        except (ValidationError, KeyError, ValueError, OSError):
            # of an earlier version, or being written
            unread += 1
        progress.step()
    return found, unread


def _info(results: Path, spec: AnyRun) -> DatasetInfo:
    if spec.data is None:
        return catalogue()[spec.dataset]
    raw = read_json(results / "datasets" / spec.dataset / "raw.json")
    return DatasetInfo.model_validate_json(canonical_json(raw["info"]))


def _measured(folder: Path, stage: str, spec: AnyRun, info: DatasetInfo, work: Work) -> Measurement:
    facts = read_json(folder / "provenance" / f"{stage}.json")
    seconds, start_up, epochs, max_epochs = _job_seconds(folder, stage, facts), 0.0, 0, 0
    if stage == "train" and spec.model != "constant":
        epochs, max_epochs = read_json(folder / "training.json")["epochs"], spec.training.epochs
        start_up = max(0.0, seconds - facts["train_seconds"])
        work = work._replace(units=work.units * epochs / max_epochs, work=work.work * epochs / max_epochs)
    command = facts["command"]
    gpu = int("--gpu" in command and command[command.index("--gpu") + 1] == "1")
    return Measurement(
        **asdict(kind(stage, spec, info, gpu)), units=work.units, work=work.work, array_mb=work.memory_mb, seconds=seconds,
        start_up=start_up, peak_memory_mb=facts["peak_memory_mb"], epochs=epochs, max_epochs=max_epochs,
        device=facts["device"], date=facts["start"][:10],
    )  # fmt: skip


def _job_seconds(folder: Path, stage: str, facts: dict[str, Any]) -> float:
    """Return the seconds of the whole process, which Snakemake has measured; of a script run by hand, those after its imports."""
    benchmark = folder / "benchmarks" / f"{stage}.tsv"
    if benchmark.is_file():
        header, values, *_ = (line.split("\t") for line in benchmark.read_text().splitlines())
        return max(facts["seconds"], float(values[header.index("s")]))
    return facts["seconds"]


def write_table(measurements: Sequence[Measurement], path: Path) -> int:
    """Write measurements as a table, repetitions as their median; return its number of rows."""
    import pandas as pd

    frame = pd.DataFrame([asdict(row) for row in measurements]).drop(columns="source")
    numbers = ["seconds", "start_up", "peak_memory_mb", "epochs", "units", "work"]
    keys = [column for column in frame.columns if column not in (*numbers, "date", "array_mb")]
    frame = frame.groupby(keys, sort=True, as_index=False).agg(
        {**dict.fromkeys(numbers, "median"), "array_mb": "median", "date": "max"}
    )
    frame["epochs"] = frame.epochs.astype(int)
    columns = [field.name for field in fields(Measurement) if field.name != "source"]
    with atomic(path) as temporary:
        frame[columns].to_csv(temporary, index=False, float_format="%.6g")
    return len(frame)


def read_table(path: Path) -> list[Measurement]:
    """Read what `write_table` wrote; raises UserError when it is something else."""
    import pandas as pd

    try:
        # a digest such as 12e456789012 is no number
        frame = pd.read_csv(path, dtype={"signature": str, "shape": str}, keep_default_na=False)
        return [Measurement(**row, source="reference") for row in frame.to_dict("records")]
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: not a table of costs ({error}); restore it from the repository or delete it") from None


# --- estimates -----------------------------------------------------------------------------------------------------------------


def fit(rows: Sequence[Measurement]) -> np.ndarray:
    """Return (start-up, a, b) of seconds = start-up + a units + b work: non-negative least squares of the relative errors.

    A start-up that was measured is taken as it is.
    """
    from scipy.optimize import nnls

    units, work, seconds, start_up = (
        np.array([getattr(row, name) for row in rows]) for name in ("units", "work", "seconds", "start_up")
    )
    known = start_up > 0
    seconds = np.maximum(seconds, 1e-6)
    # work first: among columns that explain one measurement alike, it is the one that carries over
    columns = np.stack([work, units, np.where(known, 0.0, 1.0)], axis=1) / seconds[:, None]
    scale = np.abs(columns).max(0)
    scale[scale == 0] = 1.0
    b, a, rest = nnls(columns / scale, np.maximum(1 - start_up / seconds, 0.0))[0] / scale
    return np.array([float(np.median(start_up[known])) if known.any() else rest, a, b])


class Model:
    """Estimates jobs from measurements."""

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        self.measurements = measurements
        self._groups: dict[tuple[Any, ...], tuple[str, list[Measurement], np.ndarray]] = {}
        self._start_up: dict[str, float] = {}
        self._memory_fits: dict[str, tuple[float, float]] = {}

    def estimate(self, kind: Kind, work: Work, max_epochs: int = 0) -> Estimate:
        """Return what a job of this kind with this work will cost.

        Arguments:
            max_epochs: That training allows; 0 for other rules.
        """
        basis, rows, (start_up, a, b) = self._nearest(kind)
        if basis.startswith("measured"):
            seconds, spread = self._scaled(rows, work)
            reach = 1.0
        else:
            seconds = start_up + a * work.units + b * work.work
            fitted = [start_up + a * row.units + b * row.work for row in rows]
            spread = max((_factor(value, row.seconds) for value, row in zip(fitted, rows, strict=True)), default=1.0)
            largest = max((row.work / row.units for row in rows if row.units), default=0.0)
            reach = work.work / work.units / largest if work.units and largest else 1.0
        share, memory = self._share_of_epochs(kind, max_epochs), self._memory(kind, basis, rows, work)
        return Estimate(seconds, min(start_up, seconds), share, memory, work.disk_mb, basis, len(rows), spread, reach)

    def _nearest(self, kind: Kind) -> tuple[str, list[Measurement], np.ndarray]:
        """Return the name of the basis, the measurements it consists of, and their fit."""
        key = (kind.stage, kind.gpu, kind.model == "constant", kind.signature, kind.threads)
        if key not in self._groups:
            basis, rows = self._choose(kind)
            rows = [self._with_start_up(row) for row in rows]
            self._groups[key] = basis, rows, fit(rows)
        return self._groups[key]

    def _choose(self, kind: Kind) -> tuple[str, list[Measurement]]:
        control = kind.model == "constant"
        rows = [row for row in self.measurements if row.stage == kind.stage and (row.model == "constant") == control]
        # without measurements of the rule itself: of a control the start-up of other runs
        rows = rows or [row for row in self.measurements if control and row.stage == kind.stage]
        if not rows:
            raise UserError(f"no finished {kind.stage} job to estimate one from; run one study to its end, e.g. make ablation")
        on_device = [row for row in rows if row.gpu == kind.gpu]
        rows = on_device or rows
        # seconds per operation depend on the kind of layers, those of probes on no network at all
        levels = LEVELS if kind.stage != "latents" else {"measured": LEVELS["measured"], "all latents": ()}
        here, there = ([row for row in rows if row.source == source] for source in ("here", "reference"))
        near = list(levels)[:2]
        for names, pool, suffix in ((near, here, ""), (near, there, ", reference"), (list(levels)[2:], rows, "")):
            for name in names:
                alike = [row for row in pool if all(getattr(row, key) == getattr(kind, key) for key in levels[name])]
                if alike:
                    same_threads = [row for row in alike if row.threads == kind.threads]
                    return name + suffix + ("" if on_device else ", other device"), same_threads or alike
        return "other", rows

    @staticmethod
    def _scaled(rows: Sequence[Measurement], work: Work) -> tuple[float, float]:
        """Return the seconds of a job whose kind was measured, by its amount of work, and by how much repetitions differ."""
        values = []
        for row in rows:
            ratio = work.work / row.work if row.work else work.units / row.units if row.units else 1.0
            values.append(row.start_up + (row.seconds - row.start_up) * ratio)
        middle = statistics.median(values)
        return middle, max(_factor(value, middle) for value in values)

    def _with_start_up(self, row: Measurement) -> Measurement:
        """Return a measurement with the start-up that all jobs of the rule suggest, where its own was not measured.

        A group of a few jobs could not tell it from their work, and would stretch it with the work.
        """
        if row.start_up or row.model == "constant":
            return row
        if row.stage not in self._start_up:
            alike = [other for other in self.measurements if other.stage == row.stage and other.model != "constant"]
            self._start_up[row.stage] = float(fit(alike)[0])
        return replace(row, start_up=min(self._start_up[row.stage], MOST_START_UP * row.seconds))

    def _share_of_epochs(self, kind: Kind, max_epochs: int) -> float | None:
        """Return the median share of their epochs that trained runs of this model have used; None where none is known."""
        shares = [
            row.epochs / row.max_epochs
            for row in self.measurements
            if max_epochs and row.model == kind.model and row.max_epochs >= COMPARABLE_EPOCHS * max_epochs
        ]
        return statistics.median(shares) if shares else None

    def _memory(self, kind: Kind, basis: str, rows: Sequence[Measurement], work: Work) -> float:
        """Return peak memory: of a kind that was measured the largest; else a fit to all jobs of the rule that none exceeds."""
        if basis.startswith("measured"):
            return max(row.peak_memory_mb + max(0.0, work.memory_mb - row.array_mb) for row in rows)
        if kind.stage not in self._memory_fits:
            from scipy.optimize import nnls

            alike = [row for row in self.measurements if row.stage == kind.stage]
            peaks = np.array([row.peak_memory_mb for row in alike])
            columns = np.stack([np.ones(len(alike)), [row.array_mb for row in alike]], axis=1)
            # a job's arrays are held at least once, whatever a handful of small jobs suggests
            slope = max(1.0, nnls(columns, peaks)[0][1])
            self._memory_fits[kind.stage] = max(0.0, (peaks - slope * columns[:, 1]).max()), slope
        fixed, slope = self._memory_fits[kind.stage]
        return fixed + slope * work.memory_mb


def _factor(a: float, b: float) -> float:
    return max(a, b) / max(min(a, b), 1e-9)
