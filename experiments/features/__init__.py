"""Fig. 2: the command `experiments.features` and its helpers."""
