"""Tables and figures that summarise the runs of a study, as the rules tabulate and figures make them."""
