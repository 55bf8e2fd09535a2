"""This file has the kinds of parts of a run: what settings of each kind say of themselves, for rooms that know no names.

A part of the library, or of a user's own file, is a subclass with its settings as fields and with these facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from mixvae.study.base import Frozen


class PartSettings(Frozen):
    """The settings of any part."""

    def skip_reason(self, run: Any, dataset: Any) -> str | None:
        """Return why the part does not fit a run or its data set, or None if it fits; a run that it does not fit is skipped.

        Arguments:
            run: The run's spec, a `mixvae.study.run.Run`.
            dataset: The data set's entry, a `mixvae.study.catalogue.DatasetInfo`.
        """
        return None


class PriorSettings(PartSettings):
    """The settings of a prior, with facts about it that other rooms ask for.

    pseudo_inputs: Whether it consists of the posteriors of learnt inputs, which pass the encoder in every step.
    """

    pseudo_inputs: ClassVar[bool] = False


class FlowSettings(PartSettings):
    """The settings of a flow, with facts about it that other rooms ask for.

    is_identity: Whether it changes nothing.
    """

    is_identity: ClassVar[bool] = False

    def problem(self, latent: int) -> str | None:
        """Return why these settings do not fit codes of `latent` numbers, beginning with the key; None if they fit."""
        return None


class NetworkSettings(PartSettings):
    """The settings of a network, with facts about it that other rooms ask for.

    for_images: Whether the points must be images.
    autoregressive: Whether it decodes each pixel from those before it, so that it draws x and has no mean.
    cost: Roughly how many times longer it takes than an MLP of the paper's size.
    component_mb: Memory in MB that it takes per component, beyond that of an MLP.
    """

    for_images: ClassVar[bool] = False
    autoregressive: ClassVar[bool] = False
    cost: ClassVar[int] = 1
    component_mb: ClassVar[int] = 0

    def shapes(self, shape: Sequence[int]) -> list[tuple[int, int, int]]:
        """Return (channels, height, width) of an image and of the feature maps that strided convolutions make of it.

        A network without such layers returns the image's shape alone. Raises UserError when nothing is left of the image.
        """
        return [tuple(shape)]


class EncoderSettings(NetworkSettings):
    """The settings of a network that can only encode."""


class DecoderSettings(NetworkSettings):
    """The settings of a network that can only decode."""


class LikelihoodSettings(PartSettings):
    """The settings of a likelihood, with facts about it that other rooms ask for.

    kinds: The kinds of data that it fits.
    measure: The values that it is a distribution of; only likelihoods with the same measure can be compared.
    binary: Whether it is a distribution of binarised points.
    discrete: Whether it gives probabilities and not densities, so that bits per dimension have a meaning.
    squared_errors: Whether its reconstructions are judged by their squared error.
    has_constant: Whether one output for all points can be fitted in closed form; else the control is a histogram of levels.
    """

    kinds: ClassVar[tuple[str, ...]]
    measure: ClassVar[str]
    binary: ClassVar[bool] = False
    discrete: ClassVar[bool] = False
    squared_errors: ClassVar[bool] = False
    has_constant: ClassVar[bool] = True

    @property
    def of_control(self) -> LikelihoodSettings | None:
        """The likelihood of the control for models with this likelihood; None where there is no control."""
        return self


SETTINGS: dict[str, type[PartSettings]] = {
    "prior": PriorSettings,
    "flow": FlowSettings,
    "encoder": EncoderSettings,
    "decoder": DecoderSettings,
    "likelihood": LikelihoodSettings,
}
"""The class from which the settings of each kind of part derive in a user's own file."""
