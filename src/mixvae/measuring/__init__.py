"""This room measures the likelihood and the codes of a trained model."""
