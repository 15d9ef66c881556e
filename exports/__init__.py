"""Weights turned into files that other programs load: one module a format."""
