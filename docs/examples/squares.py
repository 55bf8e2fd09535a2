"""A data set: images of 8 x 8 pixels, light squares of two sizes on a dark ground, as an .npz file. python squares.py squares.npz"""

import sys

import numpy as np

rng = np.random.default_rng(0)
images, labels = np.zeros((600, 8, 8), np.uint8), rng.integers(0, 2, 600)
for image, large in zip(images, labels, strict=True):
    side = 4 if large else 2
    top, left = rng.integers(0, 8 - side, 2)
    image[top : top + side, left : left + side] = rng.integers(180, 256)
np.savez(sys.argv[1], x_train=images[:400], y_train=labels[:400], x_valid=images[400:500], y_valid=labels[400:500],
         x_test=images[500:], y_test=labels[500:])  # fmt: skip
