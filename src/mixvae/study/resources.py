"""This file estimates what a run costs from its spec alone: points, passes through networks, memory and minutes.

A scheduler is asked for these generous estimates; `make plan` makes better ones from counted operations and finished runs.
"""

import math

from mixvae.study.catalogue import DatasetInfo
from mixvae.study.run import Run

PROCESS_MB = 3000
"""Memory in MB of a process with its libraries and the activations of an MLP."""
COPIES = 6
"""How many copies of its data set, as float32, a job may hold at once."""
START_MINUTES = 10
TRAINING_PASS, SAMPLING_PASS = 5e-6, 5e-7
"""Minutes in which a point passes the encoder and decoder of one component, in training and for an importance sample. Both are
generous: two cores take 0.14 and 0.01 ms with the paper's MLPs."""


def points(spec: Run, info: DatasetInfo, part: str) -> int:
    """Return how many points of the part "train", "valid" or "test" a run uses."""
    most = spec.test_points if part == "test" else spec.training_points
    return min(getattr(info.splits, part), most or math.inf)


def data_mb(info: DatasetInfo) -> float:
    """Return the size of a data set as float32, in MB."""
    return 4 * sum(info.splits.model_dump().values()) * math.prod(info.shape) / 1e6


def training_steps(spec: Run, info: DatasetInfo) -> int:
    """Return how many steps a training takes if it uses all its epochs."""
    return spec.training.epochs * math.ceil(points(spec, info, "train") / spec.training.batch_size)


def importance_samples(spec: Run, info: DatasetInfo) -> int:
    """Return how many importance samples an evaluation takes, over all points and components."""
    return points(spec, info, "test") * spec.importance_samples * spec.K


def points_annealed(spec: Run, info: DatasetInfo) -> int:
    """Return how many test points a run is annealed on."""
    return min(points(spec, info, "test"), spec.annealing.points)


def annealed_passes(spec: Run, info: DatasetInfo) -> int:
    """Return how often a point passes a decoder, forward and backward, when a run is annealed, over all its points.

    Test points, training points and, for the gaps, some of them again take about four passes each for every chain and temperature,
    pilots included.
    """
    settings, here = spec.annealing, points_annealed(spec, info)
    return (2 * here + 4 * min(here, settings.gap_points)) * settings.chains * settings.temperatures * 4


def relative_cost(spec: Run) -> int:
    """Return roughly how many times longer a pass through a run's networks takes than through an MLP of the paper's size."""
    return sum(network.cost for network in spec.networks) or 1


def memory_mb(spec: Run, info: DatasetInfo) -> float:
    """Return the memory to ask for, in MB: process, data and activations; more than `make plan` expects of any study here."""
    return PROCESS_MB + COPIES * data_mb(info) + spec.K * sum(network.component_mb for network in spec.networks)


def train_minutes(spec: Run, info: DatasetInfo) -> float:
    """Return the minutes to ask for to train a run."""
    if spec.is_control:
        return START_MINUTES
    passes = spec.training.epochs * points(spec, info, "train") * spec.training.samples * spec.K
    return START_MINUTES + TRAINING_PASS * passes * relative_cost(spec)


def evaluate_minutes(spec: Run, info: DatasetInfo) -> float:
    """Return the minutes to ask for to evaluate a run."""
    return START_MINUTES + SAMPLING_PASS * importance_samples(spec, info) * relative_cost(spec)


def bracket_minutes(spec: Run, info: DatasetInfo) -> float:
    """Return the minutes to ask for to anneal a run's points; a pass with its gradient takes three times as long as one without."""
    return START_MINUTES + 3 * SAMPLING_PASS * annealed_passes(spec, info) * relative_cost(spec)
