"""This file asks a model for the metrics that it measures itself, and compares them with what its settings say."""

from torch import Tensor

from mixvae.errors import UserError
from mixvae.models.contract import Model
from mixvae.study import Run

INCEPTION_SCORE = "inception_score"
"""The metric that settings name and another measures for the model."""


def own_metrics(model: Model, spec: Run, x: Tensor, kind: str) -> dict[str, tuple[float | None, str]]:
    """Return the metrics of test points (N, D) that a model measures itself, {name: (value or None, unit)}.

    Raises UserError if they are others than its settings say for data of this kind, or no numbers.
    """
    found = model.extra_metrics(x) if hasattr(model, "extra_metrics") else {}
    expected = spec.extra_metrics(kind) - {INCEPTION_SCORE}
    where = f"{spec.model}: extra_metrics"
    if not isinstance(found, dict) or found.keys() != expected:
        said = (", ".join(map(str, found)) or "nothing") if isinstance(found, dict) else f"a {type(found).__name__}"
        raise UserError(
            f"{where} of Module gives {said}, but that of Settings names {', '.join(sorted(expected)) or 'nothing'}"
        )
    for name, value in found.items():
        if not (
            isinstance(value, tuple)
            and len(value) == 2
            and isinstance(value[0], float | int | None)
            and isinstance(value[1], str)
        ):
            raise UserError(f"{where}: {name} is {value!r}, expected (number or None, unit)")
    return found
