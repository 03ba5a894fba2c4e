"""Pictures: arrays in, PNG files out."""
