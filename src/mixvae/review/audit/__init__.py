"""The audit: checks that a study's results are complete, unchanged, consistent and plausible, from its files alone.

The files are not trusted. Nothing in them is executed: JSON is parsed, arrays are read without pickle, links are followed
within the results only, and a file that cannot be read is a finding like any other.
"""

from mixvae.review.audit.checks import audit, examine

__all__ = ["audit", "examine"]
