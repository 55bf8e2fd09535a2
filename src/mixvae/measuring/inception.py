"""This file computes the Inception Score of generated images (Salimans et al., 2016) and loads the classifier for it."""

import pickle
import socket
from collections.abc import Callable
from http.client import HTTPException

import numpy as np
import torch
from torch import Tensor

from mixvae.data import torchvision_import

TIMEOUT = 20
"""Seconds that a server may stay silent."""
SIDE = 299
BATCH = 50


def inception_score(probabilities: np.ndarray, splits: int = 1) -> float:
    """Return exp(E_x KL(p(y|x) || p(y))) of class probabilities (N, C), between 1 and C.

    Arguments:
        splits: The number of consecutive parts of the images whose scores are averaged; published scores mostly use 10.
    """
    from scipy.special import rel_entr

    parts = np.array_split(np.asarray(probabilities, dtype=np.float64), splits)
    return float(np.mean([np.exp(rel_entr(part, part.mean(0)).sum(1).mean()) for part in parts]))


def classifier() -> Callable[[Tensor], Tensor] | str:
    """Return torchvision's Inception-v3 as a function from images (N, 3, H, W) in [0, 1] to probabilities (N, 1000).

    Its weights are downloaded into torch's cache. If that fails, as on a cluster node without internet, the reason is returned
    as text. The original score used weights of another Inception network, so scores by this one can be compared with each
    other, and only roughly with published ones.
    """
    torchvision_import.datasets()  # repairs the import where the compiled operators are missing
    from torchvision.models import Inception_V3_Weights, inception_v3

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # torch.hub sets none and would wait for ever
    try:
        weights = Inception_V3_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, HTTPException, RuntimeError, pickle.UnpicklingError) as error:
        return f"no Inception-v3 weights: {' '.join(str(error).split()) or type(error).__name__}"
    finally:
        socket.setdefaulttimeout(before)
    network = inception_v3(weights=None, init_weights=False).eval()
    network.load_state_dict(weights)

    @torch.inference_mode()
    def probabilities(images: Tensor) -> Tensor:
        network.to(images.device)
        return torch.cat([network(_prepared(batch)).softmax(-1) for batch in images.split(BATCH)])

    return probabilities


def _prepared(images: Tensor) -> Tensor:
    """Return images in the form on which Inception-v3 was trained: 299 x 299 with levels in [-1, 1]."""
    return 2 * torch.nn.functional.interpolate(images, size=(SIDE, SIDE), mode="bilinear", antialias=True) - 1
