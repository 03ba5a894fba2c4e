"""From a JAX function to another JAX function, by way of its jaxpr."""
