"""What the paper asks of a net. Probes take functions and arrays: any JAX model will do."""
