"""This package trains variational autoencoders whose posterior is a mixture, measures them and compares them."""
