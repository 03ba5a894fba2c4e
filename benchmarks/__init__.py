"""Speed beside references that nobody here wrote: `python -m benchmarks`."""
