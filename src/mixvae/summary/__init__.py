"""Rules tabulate and figures: the results of a study's runs as tables and figures."""
