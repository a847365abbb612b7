"""Production: what serves a release, on this machine or on a cluster."""
