"""Engines: a strategy and a model file in, a healthy OpenAI-compatible endpoint out, ended on leaving."""
