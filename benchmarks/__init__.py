"""Fits and checks of what the planner predicts; run as modules from the repository's root."""
