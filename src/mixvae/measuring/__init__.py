"""This room measures what a trained model's likelihood and codes are worth."""
