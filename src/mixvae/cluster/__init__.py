"""Runs a study on a machine or a SLURM cluster: tries profiles and own parts, estimates the cost, watches Snakemake do the jobs."""
