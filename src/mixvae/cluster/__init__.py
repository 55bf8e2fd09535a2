"""How a study gets run: the head process, SLURM, the GPUs of a node, profiles, and what it will cost."""
