"""Estimates what a study will cost: counts the work of its runs, and takes from finished runs how long such work takes.

The work is counted exactly, on tensors without data: the floating point operations of training steps and of importance samples.
A run is estimated from the finished runs that are most like it, by seconds = start-up + a units + b work, where a unit is a
training step or an importance sample.
"""
