"""This room trains a run: it has the training loop, the optimiser, checkpoints, the choice of device and the run's folder."""
