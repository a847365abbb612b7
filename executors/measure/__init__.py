"""Measures: load, quality, resources."""
