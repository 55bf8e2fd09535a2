"""Runs a study on a machine or a SLURM cluster: tries the profile, estimates the cost, and watches Snakemake do the jobs."""
