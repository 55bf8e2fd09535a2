"""The training loop: KL warm-up, validation at beta = 1, early stopping, best weights kept."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mixvae.data.prepared import Prepared
from mixvae.errors import UserError
from mixvae.objectives import miselbo
from mixvae.progress import Progress
from mixvae.seeds import derive
from mixvae.spec.run import Training

VALIDATION_ELEMENTS = 1 << 22
"""Numbers in the widest array of one validation chunk."""

HISTORY_COLUMNS = ("epoch", "beta", "train_objective", "train_reconstruction", "train_kl", "valid_elbo", "seconds")


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


def train(model: nn.Module, data: Prepared, settings: Training, seed: int, device: torch.device) -> Trained:
    """Fit `model` to the training part and choose the epoch by the validation part.

    Raises UserError when the objective stops being finite, naming the epoch and the term.
    """
    model.to(device)
    x = torch.from_numpy(data.flat("x_train")).to(device)
    valid = torch.from_numpy(data.flat("x_valid")).to(device)
    binarise = data.meta["kind"] == "binary_image"
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
            if binarise:
                batch = (torch.rand(batch.shape, generator=order, device=device) < batch).float()
            noise = torch.randn(1, model.K, len(batch), model.noise_size, device=device)
            terms = model.log_terms(batch, model.posterior(batch), model.prior_distribution(), noise)
            objective = miselbo(terms, beta).mean()
            optimiser.zero_grad(set_to_none=True)
            (-objective).backward()
            optimiser.step()
            with torch.no_grad():
                reconstruction = -terms.log_likelihood.mean()
                kl = (terms.log_mixture - terms.log_prior).mean()
                totals += len(batch) * torch.stack((objective.detach(), reconstruction, kl))
        objective, reconstruction, kl = (totals / len(x)).tolist()
        held_out = validate(model, valid, seed)
        values = (epoch, beta, objective, reconstruction, kl, held_out, time.monotonic() - start)
        row = dict(zip(HISTORY_COLUMNS, values, strict=True))
        _refuse_nonfinite(row)
        history.append(row)
        if held_out > best:
            best, best_epoch = held_out, epoch
            weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        progress.step(f"objective {objective:.4f}, valid elbo {held_out:.4f}, best {best:.4f} at epoch {best_epoch}")
        if epoch - max(best_epoch, settings.warmup - 1) >= settings.patience:
            stopped_by = "patience"
            break
    progress.close(f"stopped by {stopped_by}, best valid elbo {best:.4f} at epoch {best_epoch}")
    return Trained(weights, history, best_epoch, stopped_by)


@torch.no_grad()
def validate(model: nn.Module, x: Tensor, seed: int) -> float:
    """Return the mean objective at beta = 1 of (N, D) in evaluation mode, with the same noise whenever it is called."""
    model.eval()
    generator = torch.Generator(x.device).manual_seed(derive(seed, "validation"))
    prior = model.prior_distribution(torch.float64)
    total = torch.zeros((), device=x.device, dtype=torch.float64)
    for chunk in x.split(max(1, VALIDATION_ELEMENTS // (model.K * x.shape[1]))):
        noise = torch.randn(1, model.K, len(chunk), model.noise_size, generator=generator, device=x.device)
        total += miselbo(model.log_terms(chunk, model.posterior(chunk), prior, noise)).sum()
    return (total / len(x)).item()


def _refuse_nonfinite(row: dict[str, Any]) -> None:
    # the parts before their sum, so that the culprit is named
    for term in ("train_reconstruction", "train_kl", "train_objective", "valid_elbo"):
        if not abs(row[term]) < float("inf"):
            raise UserError(f"epoch {row['epoch']}: {term} is {row[term]}; training diverged, lower training.learning_rate")
