"""The optimiser is Adam."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.adam import adam


class Adam:
    """Adam (Kingma & Ba, 2015), its default decay rates, all parameters in one call.

    The steps are those of `torch.optim.Adam(fused=True)`, bit for bit. Making one of these imports torch's compiler, though: a second, of
    the three that a small training takes before its first step.

    Arguments:
        parameters: What it changes.
        learning_rate: The step size.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> None:
        self.parameters, self.learning_rate = list(parameters), learning_rate
        self.state = {
            "step": [torch.zeros((), device=parameter.device) for parameter in self.parameters],
            "exp_avg": [torch.zeros_like(parameter, requires_grad=False) for parameter in self.parameters],
            "exp_avg_sq": [torch.zeros_like(parameter, requires_grad=False) for parameter in self.parameters],
        }

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters that have a gradient."""
        moved = [number for number, parameter in enumerate(self.parameters) if parameter.grad is not None]

        def of(tensors: list[Tensor]) -> list[Tensor]:
            return [tensors[number] for number in moved]

        adam(
            of(self.parameters),
            [self.parameters[number].grad for number in moved],
            of(self.state["exp_avg"]),
            of(self.state["exp_avg_sq"]),
            [],
            of(self.state["step"]),
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
