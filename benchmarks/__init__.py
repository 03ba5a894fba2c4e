"""Speed against third-party references: `python -m benchmarks`."""
