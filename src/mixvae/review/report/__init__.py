"""A study's results as one page of HTML that needs nothing else: no network, no other file, and nothing of the results is executed."""
