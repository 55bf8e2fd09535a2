"""Every axis of randomness, such as the order of the data, gets a seed of its own, derived from the run's seed.

All models with the same seed see the same data order and binarisation noise, as the seed of that axis ignores the model.
"""

import hashlib


def derive(seed: int, axis: str, *indices: int) -> int:
    """Return a 63-bit seed for `axis` ("data", "initialisation", "sampling", ...), and for `indices` within it."""
    text = ":".join(map(str, (seed, axis, *indices)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1
