"""What `experiments.benchmark` measures, one file each."""
