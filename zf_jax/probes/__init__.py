"""What the paper asks of a net: probes that take functions and arrays."""
