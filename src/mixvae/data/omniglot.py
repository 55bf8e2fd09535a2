"""This data set is Omniglot in 28x28 pixels, as prepared by Burda et al. (2016, "Importance weighted autoencoders")."""

from pathlib import Path

import numpy as np

from mixvae.data.arrays import Arrays, consecutive

HELD_OUT = 1345
SHUFFLE_SEED = 123
ALPHABETS = 50


def load(raw: Path) -> Arrays:
    """Read chardata.mat: `data` and `testdata` (784, N), ink in [0, 1]; `target` and `testtarget` (50, N), one-hot alphabets.

    The file stores pixels column by column, and the training drawings ordered by alphabet. As in the authors' code, these are
    shuffled with seed 123, and the last 1,345 are held out for validation.
    """
    from scipy.io import loadmat

    file = loadmat(raw / "chardata.mat", variable_names=["data", "testdata", "target", "testtarget"])
    order = np.random.RandomState(SHUFFLE_SEED).permutation(file["data"].shape[1])
    ink = np.concatenate([file["data"].T[order], file["testdata"].T])
    x = np.rint(255 * ink).astype(np.uint8).reshape(-1, 1, 28, 28).swapaxes(2, 3)
    y = np.concatenate([file["target"].argmax(0)[order], file["testtarget"].argmax(0)]).astype(np.int64)
    names = [f"alphabet {number}" for number in range(1, ALPHABETS + 1)]
    return Arrays(x, y, names, parts=consecutive(len(order) - HELD_OUT, HELD_OUT, file["testdata"].shape[1]))
