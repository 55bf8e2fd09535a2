"""The training loop: KL warm-up, validation at beta = 1, early stopping, best weights kept."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mixvae.data.prepared import Prepared
from mixvae.errors import UserError
from mixvae.objectives import bound
from mixvae.progress import Progress
from mixvae.seeds import derive
from mixvae.spec import AnyRun

VALIDATION_ELEMENTS = 1 << 22
"""Numbers in the widest array of one validation chunk."""
SUBSET_SEED = 777
"""Of the training points that are used when not all are."""

HISTORY_COLUMNS = ("epoch", "beta", "train_objective", "train_reconstruction", "train_kl", "valid_bound", "seconds")


class Trained(NamedTuple):
    """What training leaves behind.

    weights: The state of the epoch with the best validation objective.
    history: One row per epoch.
    best_epoch: Which epoch that was, from 0.
    stopped_by: "patience", or "budget" when the epochs ran out before the patience did.
    """

    weights: dict[str, Tensor]
    history: list[dict[str, Any]]
    best_epoch: int
    stopped_by: str


def beta_at(epoch: int, warmup: int) -> float:
    """Return the KL's weight: linear from 0 at epoch 0 to 1 at epoch warmup - 1, then 1."""
    return 1.0 if warmup <= 1 else min(1.0, epoch / (warmup - 1))


def train(model: nn.Module, data: Prepared, spec: AnyRun, device: torch.device) -> Trained:
    """Fit `model` to the training part and choose the epoch by the validation part.

    Grey images are binarised anew for every batch under a Bernoulli likelihood.
    Raises UserError when the objective stops being finite, naming the epoch and the term.
    """
    settings, seed = spec.training, spec.seed
    model.to(device)
    binary = spec.likelihood.name == "bernoulli"
    x = torch.from_numpy(subset(data.points("train", binary=False), settings.points)).to(device)
    valid = torch.from_numpy(subset(data.points("valid", binary), settings.points)).to(device)
    flipped = _columns_flipped(data.meta["shape"]).to(device) if settings.flip else None
    order = torch.Generator(device).manual_seed(derive(seed, "data"))
    torch.manual_seed(derive(seed, "sampling"))
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)

    history: list[dict[str, Any]] = []
    best, best_epoch, weights = -float("inf"), -1, {}
    stopped_by, start = "budget", time.monotonic()
    progress = Progress(settings.epochs, "epoch")
    for epoch in range(settings.epochs):
        beta = beta_at(epoch, settings.warmup)
        model.train()
        # sums stay on the device, so that nothing waits for it within an epoch
        totals = torch.zeros(3, device=device, dtype=torch.float64)
        for indices in torch.randperm(len(x), generator=order, device=device).split(settings.batch_size):
            batch = x[indices]
            if binary:
                batch = (torch.rand(batch.shape, generator=order, device=device) < batch).float()
            if flipped is not None:
                turn = torch.rand(len(batch), 1, generator=order, device=device) < 0.5
                batch = torch.where(turn, batch[:, flipped], batch)
            noise = torch.randn(settings.samples, model.K, len(batch), model.noise_size, device=device)
            objective = model.objective(batch, beta, noise)
            optimiser.zero_grad(set_to_none=True)
            (-objective.value.mean()).backward()
            optimiser.step()
            with torch.no_grad():
                totals += torch.stack(objective).sum(1)
        objective, reconstruction, kl = (totals / len(x)).tolist()
        held_out = validate(model, valid, settings.samples, seed)
        values = (epoch, beta, objective, reconstruction, kl, held_out, time.monotonic() - start)
        row = dict(zip(HISTORY_COLUMNS, values, strict=True))
        _refuse_nonfinite(row)
        history.append(row)
        if held_out > best:
            best, best_epoch = held_out, epoch
            weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        progress.step(f"objective {objective:.4f}, valid bound {held_out:.4f}, best {best:.4f} at epoch {best_epoch}")
        if epoch - max(best_epoch, settings.warmup - 1) >= settings.patience:
            stopped_by = "patience"
            break
    progress.close(f"stopped by {stopped_by}, best valid bound {best:.4f} at epoch {best_epoch}")
    return Trained(weights, history, best_epoch, stopped_by)


def subset(points: np.ndarray, most: int | None) -> np.ndarray:
    """Return at most so many rows of (N, ...), the same for every model; all for None."""
    return points if most is None else points[subset_indices(len(points), most)]


def subset_indices(n: int, most: int) -> np.ndarray:
    """Return at most `most` of the indices 0 .. n - 1 in order, chosen by a fixed seed."""
    return np.sort(np.random.default_rng(SUBSET_SEED).permutation(n)[:most])


def _columns_flipped(shape: Sequence[int]) -> Tensor:
    """Return the indices that mirror a flattened image of shape (C, H, W) left to right."""
    return torch.arange(math.prod(shape)).view(*shape).flip(-1).flatten()


@torch.no_grad()
def validate(model: nn.Module, x: Tensor, samples: int, seed: int) -> float:
    """Return the mean bound at beta = 1 of (N, D) in evaluation mode, with the same noise whenever it is called.

    It is the bound that evaluation reports, whatever a model trains: an M-VAE's dHSIC, a CP-VAE's relaxed categories and a
    GMVAE's cut-off are not in it.
    """
    model.eval()
    generator = torch.Generator(x.device).manual_seed(derive(seed, "validation"))
    prior = model.prior_distribution(torch.float64)
    total = torch.zeros((), device=x.device, dtype=torch.float64)
    for chunk in x.split(max(1, VALIDATION_ELEMENTS // (samples * model.K * model.width))):
        noise = torch.randn(samples, model.K, len(chunk), model.noise_size, generator=generator, device=x.device)
        total += bound(model.log_terms(chunk, model.posterior(chunk), prior, noise)).value.sum()
    return (total / len(x)).item()


def _refuse_nonfinite(row: dict[str, Any]) -> None:
    # the parts before their sum, so that the culprit is named
    for term in ("train_reconstruction", "train_kl", "train_objective", "valid_bound"):
        if not abs(row[term]) < float("inf"):
            raise UserError(f"epoch {row['epoch']}: {term} is {row[term]}; training diverged, lower training.learning_rate")
