"""Fig. 7: the command `experiments.occlusion` and its helpers."""
