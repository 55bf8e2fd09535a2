"""This file has the training loop: it warms up the KL, validates with the full KL, stops early and keeps the best weights."""

import math
import time
from collections import defaultdict
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mixvae.data.prepared import Prepared
from mixvae.data.view import to_measure_on, to_train_on
from mixvae.errors import UserError
from mixvae.fitting.adam import Adam
from mixvae.fitting.checkpoint import Checkpoint, State
from mixvae.fitting.graphs import Replayed
from mixvae.models import Model
from mixvae.models.objectives import bound
from mixvae.progress import Progress, say
from mixvae.seeds import derive
from mixvae.study import Run
from mixvae.study.parts import Training

VALIDATION_ELEMENTS = {"cpu": 1 << 21, "cuda": 1 << 25}
"""How many numbers the widest array of a validation chunk may have, for each type of device."""

HISTORY_COLUMNS = ("epoch", "beta", "train_objective", "train_reconstruction", "train_kl", "valid_bound", "seconds")
DIVERGED = "training diverged, lower training.learning_rate"


class Trained(NamedTuple):
    """The result of a training.

    weights: The state of the epoch with the best validation objective.
    history: One row per epoch.
    best_epoch: The number of that best epoch, from 0.
    stopped_by: "patience", or "budget" when the epochs ran out before the patience did.
    """

    weights: dict[str, Tensor]
    history: list[dict[str, Any]]
    best_epoch: int
    stopped_by: str


class Loop:
    """The state of a training loop, which can be saved after any step.

    epoch, batch: The epoch being trained, and how many of its batches are finished.
    permutation: The epoch's data order, (N,).
    terms: The objective, reconstruction and KL of every batch of the epoch, summed over the batch's points, (batches, 3).
    seconds: How long training has taken so far, summed over the processes that took part.
    """

    FACTS = ("epoch", "batch", "history", "best", "best_epoch", "seconds")

    def __init__(self, model: Model, optimiser: Adam, order: torch.Generator) -> None:
        self.model, self.optimiser, self.order = model, optimiser, order
        self.epoch = self.batch = 0
        self.permutation, self.terms = torch.empty(0), torch.empty(0)
        self.history: list[dict[str, Any]] = []
        self.best, self.best_epoch = -float("inf"), -1
        self.weights: dict[str, Tensor] = {}
        self.seconds = 0.0

    def end_epoch(self, row: dict[str, Any]) -> None:
        """Add an epoch to the history and keep its weights if it is the best."""
        self.history.append(row)
        if row["valid_bound"] > self.best:
            self.best, self.best_epoch = row["valid_bound"], self.epoch
            self.weights = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        self.epoch, self.batch = self.epoch + 1, 0

    def patience_ended(self, settings: Training) -> bool:
        """Return whether the validation objective has not improved for too long; the warm-up does not count."""
        return self.epoch - 1 - max(self.best_epoch, settings.warmup - 1) >= settings.patience

    def state(self) -> State:
        """Return the state that the rest of the training depends on."""
        tensors = {"loop.permutation": self.permutation, "loop.terms": self.terms}
        tensors |= {"random.order": self.order.get_state(), "random.cpu": torch.get_rng_state()}
        if self.order.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.order.device)
        # clones, since a file cannot hold tensors that share memory
        tensors |= {f"model.{name}": tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.weights.items()}
        for name, kept in self.optimiser.state.items():
            tensors |= {f"optimiser.{name}.{number}": tensor for number, tensor in enumerate(kept)}
        return State(tensors, {name: getattr(self, name) for name in self.FACTS})

    def resume(self, state: State) -> None:
        """Restore a state that `state` returned."""
        for name in self.FACTS:
            setattr(self, name, state.facts[name])
        parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, tensor in state.tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        device = self.order.device
        self.permutation, self.terms = (parts["loop"][name].to(device) for name in ("permutation", "terms"))
        self.weights = {name: tensor.to(device) for name, tensor in parts["best"].items()}
        self.model.load_state_dict(parts["model"])
        for name, kept in self.optimiser.state.items():
            for number, tensor in enumerate(kept):
                tensor.copy_(parts["optimiser"][f"{name}.{number}"])
        self.order.set_state(parts["random"]["order"])
        torch.set_rng_state(parts["random"]["cpu"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(parts["random"]["cuda"], device)


def kl_weight_at(epoch: int, warmup: int) -> float:
    """Return the KL's weight: it grows linearly from 0 at epoch 0 to 1 at epoch warmup - 1, and stays 1."""
    return 1.0 if warmup <= 1 else min(1.0, epoch / (warmup - 1))


def train(model: Model, data: Prepared, spec: Run, device: torch.device, checkpoint: Checkpoint | None = None) -> Trained:
    """Fit `model` to the training part and choose the best epoch by the validation part.

    Under a Bernoulli likelihood, grey images are binarised anew for every batch. With a `checkpoint`, training goes on from the
    saved state if there is one, and saves its state from time to time; the result has the same bits as without interruption.
    Raises UserError that names the step and the term when the objective is no longer finite, and Interrupted after a signal.
    """
    settings, seed = spec.training, spec.seed
    model.to(device)
    x = to_train_on(data, spec).to(device)
    valid = to_measure_on(data, spec, "valid", spec.training_points).x.to(device)
    # indices that mirror a flattened image of shape (C, H, W) left to right
    mirrored = torch.arange(x.shape[1], device=device).view(*data.meta["shape"]).flip(-1).flatten()
    order = torch.Generator(device).manual_seed(derive(seed, "data"))
    torch.manual_seed(derive(seed, "sampling"))
    optimiser = Adam(model.parameters(), settings.learning_rate)
    kl_weight = torch.empty((), device=device, dtype=torch.float64)

    def one_step(indices: Tensor) -> Tensor:
        """Train on a batch; return the batch's objective, reconstruction and KL, summed over its points, (3,)."""
        batch = x[indices]
        if spec.likelihood.binary:
            batch = (torch.rand(batch.shape, generator=order, device=device) < batch).float()
        if settings.flip:
            turn = torch.rand(len(batch), 1, generator=order, device=device) < 0.5
            batch = torch.where(turn, batch[:, mirrored], batch)
        noise = torch.randn(settings.samples, model.sampled_components, len(batch), model.noise_size, device=device)
        objective = model.objective(batch, kl_weight, noise)
        optimiser.zero_grad()
        (-objective.value.mean()).backward()
        optimiser.step()
        return torch.stack(objective).detach().sum(1)

    step = Replayed(one_step, min(settings.batch_size, len(x)), [order])
    loop = Loop(model, optimiser, order)
    if checkpoint is not None and (state := checkpoint.load()) is not None:
        loop.resume(state)
        say(f"going on from epoch {loop.epoch}, step {loop.batch} of {len(loop.terms)}")
    start = time.monotonic() - loop.seconds
    progress = Progress(settings.epochs, "epoch", done=loop.epoch)
    while loop.epoch < settings.epochs and not loop.patience_ended(settings):
        epoch = loop.epoch
        kl_weight.fill_(kl_weight_at(epoch, settings.warmup))
        model.train()
        if loop.batch == 0:
            loop.permutation = torch.randperm(len(x), generator=order, device=device)
            # the sums over points stay on the device, so that the loop does not wait for it within an epoch
            loop.terms = torch.zeros(math.ceil(len(x) / settings.batch_size), 3, device=device, dtype=torch.float64)
        for indices in loop.permutation.split(settings.batch_size)[loop.batch :]:
            loop.terms[loop.batch] = step(indices)
            # this check costs little on a CPU; on a GPU the loop would wait for it, so it is made at the end of the epoch
            if device.type == "cpu" and not math.isfinite(loop.terms[loop.batch].sum().item()):
                _refuse_nonfinite(epoch, loop.terms)
            loop.batch += 1
            if checkpoint is not None and checkpoint.due():
                loop.seconds = time.monotonic() - start
                checkpoint.save(loop.state(), f"epoch {epoch}, step {loop.batch} of {len(loop.terms)}")
        _refuse_nonfinite(epoch, loop.terms)
        objective, reconstruction, kl = (loop.terms.sum(0) / len(x)).tolist()
        held_out = validate(model, valid, settings.samples, seed)
        if not math.isfinite(held_out):
            raise UserError(f"epoch {epoch}: valid_bound is {held_out}; {DIVERGED}")
        values = (epoch, kl_weight.item(), objective, reconstruction, kl, held_out, time.monotonic() - start)
        loop.end_epoch(dict(zip(HISTORY_COLUMNS, values, strict=True)))
        progress.step(f"objective {objective:.4f}, valid bound {held_out:.4f}, best {loop.best:.4f} at epoch {loop.best_epoch}")
    stopped_by = "patience" if loop.patience_ended(settings) else "budget"
    progress.close(f"stopped by {stopped_by}, best valid bound {loop.best:.4f} at epoch {loop.best_epoch}")
    return Trained(loop.weights, loop.history, loop.best_epoch, stopped_by)


@torch.no_grad()
def validate(model: Model, x: Tensor, samples: int, seed: int) -> float:
    """Return the mean bound of (N, D) with the full KL, in evaluation mode and with the same noise at every call.

    It is the bound that evaluation reports, not the objective of the model: it has no dHSIC of M-VAE, no relaxed categories of
    CP-VAE and no cut-off of GMVAE.
    """
    model.eval()
    generator = torch.Generator(x.device).manual_seed(derive(seed, "validation"))
    prior = model.prior_distribution(torch.float64)
    total = torch.zeros((), device=x.device, dtype=torch.float64)
    for chunk in x.split(max(1, VALIDATION_ELEMENTS[x.device.type] // (samples * model.sampled_components * model.width))):
        shape = (samples, model.sampled_components, len(chunk), model.noise_size)
        noise = torch.randn(shape, generator=generator, device=x.device)
        total += bound(model.log_terms(chunk, model.posterior(chunk), prior, noise)).value.sum()
    return (total / len(x)).item()


def _refuse_nonfinite(epoch: int, terms: Tensor) -> None:
    """Raise UserError for the first step whose terms are not all finite; `terms` are sums over points, (steps, 3)."""
    wrong = (~terms.isfinite()).nonzero()
    if not len(wrong):
        return
    step = int(wrong[0, 0])
    # the parts come before the objective, their sum, so that the part at fault is named
    for column, term in ((1, "reconstruction"), (2, "kl"), (0, "objective")):
        if not math.isfinite(value := terms[step, column].item()):
            raise UserError(f"epoch {epoch}, step {step} of {len(terms)}: train_{term} is {value}; {DIVERGED}")
