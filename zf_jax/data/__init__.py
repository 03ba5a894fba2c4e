"""Data sets: the built-in one, any of TFDS', and the crops and batches made of them."""
