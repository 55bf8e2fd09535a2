"""Computes the work of each job of a run, and the kind of a job, by which it is compared with finished jobs."""

import hashlib
from typing import Any, NamedTuple

from mixvae.cluster.costs.operations import Counts, count
from mixvae.files import canonical_json
from mixvae.study import DatasetInfo, Run
from mixvae.study.jobs import rules_of
from mixvae.study.metrics import points_probed
from mixvae.study.resources import annealed_passes, data_mb, importance_samples, points, points_annealed, training_steps

NO_NETWORK = "none"
KIND = [
    "rule", "model", "K", "prior", "flow", "encoder", "decoder", "likelihood", "shape", "threads", "gpu", "signature",
]  # fmt: skip
"""What makes the kind of a job: `signature` is equal for jobs that do the same work per unit with the same threads."""
KEPT_ARRAYS = 6
"""How many arrays of the widest layer's size a gradient keeps."""
_counted: dict[str, Counts] = {}
"""The counts of every kind of model that was counted, by signature."""


class Work(NamedTuple):
    """The work of one job.

    units: Training steps, importance samples of all components, or gradients of annealed chains; for rule latents, the numbers that
        probes read.
    work: Floating point operations; for rule latents, numbers times points, as for the distances between points.
    array_mb: The large arrays that it holds.
    disk_mb: The files that it makes.
    """

    units: float
    work: float
    array_mb: float
    disk_mb: float


def _train_work(spec: Run, info: DatasetInfo, counts: Counts) -> Work:
    train, valid = (points(spec, info, part) for part in ("train", "valid"))
    full = train / min(spec.training.batch_size, train)
    epoch = full * counts.step + valid * (counts.encode + spec.training.samples * counts.sample)
    # weights, gradients, Adam's two averages, and the best epoch's weights
    memory = data_mb(info) + (counts.kept + 5 * 4 * counts.parameters) / 1e6
    epochs = spec.training.epochs
    return Work(training_steps(spec, info), epochs * epoch, memory, (4 * counts.parameters + 110 * epochs) / 1e6)


def _evaluate_work(spec: Run, info: DatasetInfo, counts: Counts) -> Work:
    from mixvae.measuring.evaluation import ELEMENTS, SAMPLE_BLOCK

    number, samples = points(spec, info, "test"), spec.importance_samples
    block = spec.K * min(samples, SAMPLE_BLOCK["cpu"]) * counts.width
    memory = data_mb(info) + 4 * max(block, min(number * block, ELEMENTS["cpu"])) / 1e6
    disk = 8 * number * (11 + spec.K) / 1e6
    return Work(importance_samples(spec, info), number * (counts.encode + samples * counts.sample), memory, disk)


def _bracket_work(spec: Run, info: DatasetInfo, counts: Counts) -> Work:
    from mixvae.measuring.evaluation import ELEMENTS

    passes, here = annealed_passes(spec, info), points_annealed(spec, info)
    # a gradient with respect to the codes takes about as long as the pass before it; a chain is one sample of one component
    work = 2 * passes * counts.sample / spec.sampled_components
    memory = data_mb(info) + KEPT_ARRAYS * 4 * min(here * spec.annealing.chains * counts.width, ELEMENTS["cpu"]) / 1e6
    return Work(passes, work, memory, 8 * 10 * here / 1e6)


def _latents_work(spec: Run, info: DatasetInfo, counts: Counts) -> Work:
    train, test = points_probed(spec, info), points(spec, info, "test")
    disk = (train + test) * (4 * 1.5 * counts.codes + 20) / 1e6
    # components that are models are probed together and alone
    times = (info.classes > 1) * (2 if spec.components_are_models and spec.K > 1 else 1)
    units, work = (train + test) * counts.codes * times, (train**2 + test**2) * counts.codes * times
    return Work(units, work, data_mb(info), disk)


def work_of(spec: Run, info: DatasetInfo) -> dict[str, Work]:
    """Return the work of every rule that a run goes through; a control has no work, only start-up."""
    if spec.is_control:
        return {rule: Work(0, 0, data_mb(info), 0.01) for rule in rules_of(spec)}
    key = _signature(spec, info)
    if key not in _counted:
        _counted[key] = count(spec, info)
    of_rule = {"train": _train_work, "evaluate": _evaluate_work, "bracket": _bracket_work, "latents": _latents_work}
    return {rule: of_rule[rule](spec, info, _counted[key]) for rule in rules_of(spec)}


def _signature(spec: Run, info: DatasetInfo, *more: Any) -> str:
    """Return a digest of everything that the work per unit depends on."""
    described = spec.model_dump(mode="json", exclude={"seed", "dataset", "data", "training", "evaluation"})
    if not spec.is_control:
        described["batch"] = [min(spec.training.batch_size, points(spec, info, "train")), spec.training.samples]
    if spec.prior.pseudo_inputs:
        described["pseudo_inputs"] = min(spec.prior.components, info.splits.train // 10)
        del described["prior"]
    return hashlib.sha256(canonical_json([described, list(info.shape), *more]).encode()).hexdigest()[:12]


def kind_of(rule: str, spec: Run, info: DatasetInfo, gpu: int) -> dict[str, Any]:
    """Return the kind of a job, by which it is compared with others: the values of KIND."""
    on_gpu = gpu if rule != "latents" and not spec.is_control else 0
    networks = [network.name for network in spec.networks] or [NO_NETWORK, NO_NETWORK]
    # probes also depend on the labels, and so on the data set
    more = (spec.dataset, spec.evaluation.probe_points, spec.evaluation.points) if rule == "latents" else ()
    names = [spec.prior.name, spec.flow.name, *networks, spec.likelihood.name, "x".join(map(str, info.shape))]
    values = [rule, spec.model, spec.K, *names, spec.threads, on_gpu, _signature(spec, info, *more)]
    return dict(zip(KIND, values, strict=True))
