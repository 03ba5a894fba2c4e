"""Nets that somebody else trained, as Specs and parameters."""
