"""The mixture VAE as it is written down: one network per component, loops, and densities from torch.distributions.

It computes what the library computes, from the same weights, without any of the library's reformulations: what they bring in time is
measured against it, and that they change no number is tested against it (tests/models/test_naive.py).
"""

from benchmarks.naive.models import evaluate, naive_of

__all__ = ["evaluate", "naive_of"]
