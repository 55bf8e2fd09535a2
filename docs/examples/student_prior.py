"""A prior: independent Student t distributions, each with a learnt scale."""

import torch
from torch import nn
from torch.distributions import Distribution, Independent, StudentT

from mixvae.study.base import PositiveReal
from mixvae.study.kinds import PriorSettings


class Settings(PriorSettings):
    """`df` is the degrees of freedom; the smaller, the heavier the tails."""

    df: PositiveReal = 5.0


class Module(nn.Module):
    """The arguments are the dimension Z of the codes, and the settings."""

    def __init__(self, latent: int, df: float) -> None:
        super().__init__()
        self.df = df
        self.log_scale = nn.Parameter(torch.zeros(latent))

    def gaussians(self, K: int) -> int:
        """Return how many Gaussians a density is made of, for K encoders: it sets how many samples fit into memory."""
        return 1

    def forward(self, encoder: object, dtype: torch.dtype) -> Distribution:
        """Return p(z) over (Z,), whose density is computed in `dtype`; `encoder` is for priors made of posteriors."""
        scale = self.log_scale.to(dtype).exp()
        return Independent(StudentT(self.df, torch.zeros_like(scale), scale), 1)
