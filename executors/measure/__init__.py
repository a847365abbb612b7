"""Measurement: an endpoint or two models in, load figures or a gate decision out."""
