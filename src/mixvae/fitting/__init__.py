"""This room trains a run: the loop, the optimiser, the checkpoint, and the folder that a run leaves."""
