"""Training: what is minimised, how, over which devices, and what is kept."""
