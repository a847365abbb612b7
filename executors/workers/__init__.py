"""Scripts that run inside a toolchain's own interpreter: one JSON request in, JSON lines out."""
