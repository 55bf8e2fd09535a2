"""One independent seed per axis of randomness, derived from the run's seed.

Every model with the same seed sees the same data order and the same binarisation noise, because that axis does not know
about the model.
"""

from __future__ import annotations

import hashlib


def derive(seed: int, axis: str, *indices: int) -> int:
    """Return a 63-bit seed for `axis` ("data", "initialisation", "sampling", ...), further told apart by `indices`."""
    text = ":".join(map(str, (seed, axis, *indices)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1
