"""Variational autoencoders whose posterior is a mixture, and what is needed to compare them."""
