"""This room holds likelihoods, priors, flows and posteriors: each one is a distribution, or a module that returns one."""
